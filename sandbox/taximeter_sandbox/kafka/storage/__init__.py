"""What a broker keeps on disk: the log of each partition, its recovery, and what is known of producers."""
