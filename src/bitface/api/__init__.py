"""The library as people call it from Python: `import bitface as bf` gives what is here, and imports it when it is used.

Networks, faces and protocols come in, as files or in memory; quantized networks and results that print themselves go
out. Whatever a command does, its function does: `bf.quantize_model(bf.QuantizeRequest(…))` writes the same folder as
`bitface quantize`.
"""
