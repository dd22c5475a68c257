"""Records of the logs as Parquet files by the day, each record once however often an export is interrupted: `taximeter export`.

Read: export_columns, export_rows, day_files, exporter.
"""
