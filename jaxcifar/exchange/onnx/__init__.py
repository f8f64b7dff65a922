"""Export any network as an ONNX graph, from its traced program.

Reading order: `onnx_file` writes the file, `paired_trace` walks through the traced program,
`conversion_table` names the function that converts each operation, and the modules
`elementwise_nodes`, `rearranging_nodes`, `reducing_nodes` and `product_nodes` hold these functions.
They add nodes to the graph of `onnx_builder`, which `node_folding` makes smaller at the end.
"""
