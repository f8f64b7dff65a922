"""Export any network as an ONNX graph, from its traced program.

In reading order: `onnx_file` writes the file. `function_graph` traces the network with two batch
sizes, and `paired_trace` walks through both traces. `branch_choice` chooses the branch of a
conditional. `conversion_table` names the function that converts each operation. These functions are
in the modules whose names end in `_nodes`. They add nodes to the graph in `onnx_builder`, and
`node_folding` makes the graph smaller at the end. Before the file is written, `logits_comparison`
compares its logits with the network's.
"""
