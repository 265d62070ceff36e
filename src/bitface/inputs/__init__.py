"""What commands are given, made ready: faces chosen and held out, photographs aligned, protocols opened, recipes read,
test images embedded. Paths and words come in; arrays, protocols and settings go out.
"""
