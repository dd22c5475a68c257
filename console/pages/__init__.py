"""What people see: pages made on the server, which say the same without any script. `static` has what a browser fetches beside them.

Read: elements, page_frame, pipeline_page, bill_figures, customer_pages, event_page, list_pages.
"""
