"""Balance q against k, and v against the projection, a head at a time: the same function, easier to quantize.

A score is `q . k = (M q) . (M^-T k)` for any invertible M, and attention mixes tokens, not channels, so
`P (M v) = M (P v)`, which the projection undoes. A constant added to k moves all scores of a row alike, which softmax
does not see; a constant added to v passes through attention, because its weights sum to one.
"""

from dataclasses import replace

import torch

from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Linear, Matmul, Movement, Softmax
from mptq_export.capture.score_path import score_path
from mptq_export.transform.channels import channel_numbers, constant_along
from mptq_export.transform.flat_basis import cosine_basis

#: Part of the mean diagonal that is added to a second moment, so that it can be inverted.
_DAMPING = 1e-4


def balance_attention(graph: Graph, linear: Node, outputs: torch.Tensor) -> Graph:
    """Rewrite a fused q, k, v layer, and the projection behind it.

    Args:
        graph: any canonical graph.
        linear: a linear layer; one that no attention reads is left as it is.
        outputs: [rows, N], what it gives for calibration images.

    Preserves: the output. Heads whose q and k (or v) do not come from this one layer, or that anything else
    reads, are left as they are; what is changed is float64.
    """
    matmuls, outputs = only_matmuls(graph, linear), outputs.double()
    for matmul in matmuls:
        roots = [graph.root(name).name for name in matmul.inputs]
        if roots == [linear.name, linear.name] and _softmax_only(graph, matmul):
            graph = _balance_scores(graph, matmul, linear.name, outputs)
    for matmul in matmuls:
        if isinstance(graph.root(matmul.inputs[0]).op, Softmax) and graph.root(matmul.inputs[1]).name == linear.name:
            graph = _balance_context(graph, matmul, linear.name, outputs)
    return graph


def balancing_matrix(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The M for which `M A M^T` and `M^-T B M^-1` are the same matrix with an even diagonal.

    Noise of one step size in both operands costs `tr(A') + tr(B')`, and the step follows from the largest channel:
    equal and even is best. M balances as in model reduction (Moore 1981), followed by a rotation.

    Args:
        first: A, float64 [d, d], second moment of the first operand.
        second: B, float64 [d, d], second moment of the other.

    Returns:
        float64 [d, d].
    """
    lower = torch.linalg.cholesky(_damped(first))
    values, vectors = torch.linalg.eigh(lower.T @ _damped(second) @ lower)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * largest.sign()  # either sign is an eigenvector: not the one that this CPU's library finds
    quarter = values.clamp_min(float(values.max()) * 1e-12) ** 0.25
    balanced: torch.Tensor = (vectors * quarter).T @ torch.linalg.inv(lower)
    return cosine_basis(len(first)).to(first) @ balanced


def _balance_scores(graph: Graph, matmul: Node, name: str, outputs: torch.Tensor) -> Graph:
    q_heads = heads_of(channel_numbers(graph, matmul.inputs[0]))
    k_heads = heads_of(channel_numbers(graph, matmul.inputs[1]).transpose(-1, -2))
    if q_heads is None or k_heads is None:
        return graph
    weight, bias = _copies(graph[name])
    for q, k in zip(q_heads.to(bias.device), k_heads.to(bias.device), strict=True):
        keys = outputs[:, k]
        bias[k] -= keys.mean(0)
        matrix = balancing_matrix(_moment(outputs[:, q]), _moment(keys - keys.mean(0)))
        inverse = torch.linalg.inv(matrix).T
        weight[q], bias[q] = matrix @ weight[q], matrix @ bias[q]
        weight[k], bias[k] = inverse @ weight[k], inverse @ bias[k]
    return graph.updated({name: _with(graph[name], weight, bias)})


def _balance_context(graph: Graph, matmul: Node, name: str, outputs: torch.Tensor) -> Graph:
    projection = projection_of(graph, matmul)
    v_heads = heads_of(channel_numbers(graph, matmul.inputs[1]))
    if projection is None or v_heads is None:
        return graph
    reader, order = projection
    weight, bias = _copies(graph[name])
    out_weight, out_bias = _copies(graph[reader.name])
    width = v_heads.shape[1]
    for head, v in enumerate(v_heads.to(bias.device)):
        columns = order[head * width : (head + 1) * width].to(bias.device)
        values = outputs[:, v]
        mean = values.mean(0)
        bias[v] -= mean
        out_bias += out_weight[:, columns] @ mean
        read = out_weight[:, columns]
        matrix = balancing_matrix(_moment(values - mean), read.T @ read / len(read))
        weight[v], bias[v] = matrix @ weight[v], matrix @ bias[v]
        out_weight[:, columns] = read @ torch.linalg.inv(matrix)
    changes = {name: _with(graph[name], weight, bias), reader.name: _with(graph[reader.name], out_weight, out_bias)}
    return graph.updated(changes)


def only_matmuls(graph: Graph, linear: Node) -> list[Node]:
    """The matmuls that read a linear layer; empty where anything else reads it."""
    readers = {reader.name: reader for reader, _ in graph.final_readers(linear.name) or ()}
    return list(readers.values()) if all(isinstance(reader.op, Matmul) for reader in readers.values()) else []


def _softmax_only(graph: Graph, matmul: Node) -> bool:
    """Whether all that reads the product is one softmax, behind constant additions and movement."""
    readers = graph.consumers()
    node = matmul
    while not isinstance(node.op, Softmax):
        if len(readers[node.name]) != 1 or node.name == graph.output:
            return False
        node = readers[node.name][0]
        if not isinstance(node.op, Add | Softmax | Movement):
            return False
    return score_path(graph, node)[0].name == matmul.name


def heads_of(index: torch.Tensor) -> torch.Tensor | None:
    """Channels of every head, int64 [heads, d], of an operand [..., heads, tokens, d]; None where they vary."""
    if index.dim() < 3:
        return None
    heads = [constant_along(index[..., h, :, :], -1) for h in range(index.shape[-3])]
    return torch.stack([h for h in heads if h is not None]) if all(h is not None for h in heads) else None


def projection_of(graph: Graph, matmul: Node) -> tuple[Node, torch.Tensor] | None:
    """The one linear layer that reads an attention output, and which of its inputs `head * d + channel` is."""
    readers = graph.consumers()
    dims = matmul.shape.at(1)
    if len(dims) < 3:
        return None
    heads, width = dims[-3], dims[-1]
    index = (torch.arange(heads)[:, None, None] * width + torch.arange(width)).expand(dims).contiguous()
    name = matmul.name
    while len(readers[name]) == 1 and name != graph.output:
        reader = readers[name][0]
        if isinstance(reader.op, Linear):
            order = constant_along(index, -1)
            if order is None or not torch.equal(order.sort().values, torch.arange(heads * width)):
                return None
            return reader, order.argsort()
        if not isinstance(reader.op, Movement):
            return None
        index, name = compute(reader, [index]), reader.name
    return None


def _copies(node: Node) -> tuple[torch.Tensor, torch.Tensor]:
    return node.params["weight"].double().clone(), node.params["bias"].double().clone()


def _with(node: Node, weight: torch.Tensor, bias: torch.Tensor) -> Node:
    return replace(node, params={"weight": weight, "bias": bias})


def _moment(rows: torch.Tensor) -> torch.Tensor:
    return rows.T @ rows / len(rows)


def _damped(moment: torch.Tensor) -> torch.Tensor:
    mean = moment.diagonal().mean().clamp_min(1e-12)
    return moment + _DAMPING * mean * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
