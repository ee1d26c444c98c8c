"""What TensorRT can read: the operators of its ONNX parser that a denoiser may be made of.

From the support matrix of onnx-tensorrt, docs/operators.md, release 10.1-GA: opset 9 to 20, and
JetPack 6's TensorRT 10.3 reads what 10.1 does. Left out are those it marks N, and of those it reads
random numbers (their seeds are ignored) and control flow (no CUDA graph can be captured of it).
"""

OPSET = 20
NAMES = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant
    ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Einsum Elu
    Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity
    InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul
    Max MaxPool Mean Min Mod Mul Neg Not Or Pad Pow QuantizeLinear Range Reciprocal ReduceL1
    ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    Relu Reshape Resize Round Shape Sigmoid Sign Sin Size Slice Softmax Softplus SpaceToDepth
    Split Sqrt Squeeze Sub Sum Tan Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
OPERATORS = frozenset(NAMES.split())


def unreadable(model):
    """What of an onnx.ModelProto TensorRT 10.3 would refuse, a sentence each."""
    wrong = [
        f"opset {o.version} of {o.domain or 'ai.onnx'!r}"
        for o in model.opset_import
        if o.domain not in ("", "ai.onnx") or o.version > OPSET
    ]
    strange = {node.op_type for node in model.graph.node} - OPERATORS
    wrong += [f"operator {name}" for name in sorted(strange)]
    wrong += [f"{len(model.functions)} functions"] if model.functions else []
    return wrong
