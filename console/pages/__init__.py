"""What people see: pages made on the server, which say the same without any script. `static` has what a browser fetches beside them.

Read: elements, page_frame, pipeline_page, money, customer_pages, event_page, list_pages.
"""
