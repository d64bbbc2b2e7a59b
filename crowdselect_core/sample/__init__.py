"""A small real crowd that ships with the package: 240 instructions, 8 models, one table.

The files beside this module are the sample; `README.md` there says what they are worth.
`build.py` made `zoo.parquet` and is needed only to make it again.
"""
