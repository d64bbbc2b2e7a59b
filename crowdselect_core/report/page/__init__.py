"""OUT/report.html: one offline page that shows what a run chose, and why.

A section is a function from `PageData` to a `Section` (its HTML and its data blocks);
`page.SECTIONS` lists them in their order on the page. Everything in the page is inline; its
Content-Security-Policy allows no request, no eval, and only the scripts whose hashes it names.
"""
