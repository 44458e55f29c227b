"""Operators, each as a template of Python with holes: `RULES` is the table, the grammar of holes is that of `fill.py`.

    <f> <f1> <F3>     a tensor of floats of any rank, of rank 1 at least, of rank 3; so <x> of any type, <i> of integers, <b> of booleans
    <g>               a tensor of floats or complex numbers
    <same>            what broadcasts against the first tensor, of its type; <like> has its shape too; <o> is any tensor of its type
    <d> <e>           dimensions of the first tensor, perhaps counted from the end; <ds> one or two of them
    <at>              a position in dimension <d>, <len> how many of them
    <num> <small> <count> <yes>    a float, an integer in -2..3, an integer in 1..4, True or False
    <dtype> <to>      a type of floats, of anything
    <perm> <shape> <bigger>        a permutation of its dimensions, a shape of as many elements, one it can be expanded to
    <w:A,B> <b:A>     a parameter of a shape, a buffer of one; s is the first tensor's shape, d the dimension, c what <count> was last
    <ids:N:A,B>       indices below N of a shape
    <mask>            booleans that broadcast against the first tensor
"""

from __future__ import annotations

MAPS = """
abs neg exp expm1 log log1p log2 sqrt rsqrt sin cos tan asin atan sinh cosh tanh asinh sigmoid relu erf erfc floor ceil round trunc frac
sign square reciprocal nan_to_num positive digamma lgamma exp2 sinc logit signbit isnan isinf isfinite
""".split()
ACTIVATIONS = """
gelu silu elu selu celu hardtanh hardswish hardsigmoid leaky_relu logsigmoid mish relu6 softplus softsign tanhshrink
""".split()
PAIRS = ["add", "sub", "mul", "div", "maximum", "minimum", "atan2", "remainder", "fmod", "hypot", "copysign", "fmax", "fmin", "pow", "logaddexp"]
COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]
SCANS = ["cumsum", "cumprod", "logcumsumexp"]
INPLACE = ["add_(<same>)", "mul_(<same>)", "sub_(<num>)", "div_(<num>)", "relu_()", "neg_()", "zero_()", "fill_(<num>)", "copy_(<same>)",
           "clamp_(<num>)", "masked_fill_(<mask>, <num>)", "sigmoid_()", "add_(<same>, alpha=<num>)", "t_()", "unsqueeze_(0)", "abs_()",
           "tanh_()", "exp_()", "addcmul_(<same>, <same>)", "transpose_(<d>, <e>)", "squeeze_()", "lerp_(<like>, <num>)"]  # fmt: skip

RULES: tuple[str, ...] = (
    *(f"torch.{name}(<f>)" for name in MAPS),
    *(f"torch.nn.functional.{name}(<f>)" for name in ACTIVATIONS),
    *(f"torch.{name}(<f>, <same>)" for name in PAIRS),
    *(f"torch.{name}(<x>, <same>)" for name in (*COMPARISONS, "add", "mul", "sub", "maximum")),
    *(f"torch.{name}(<f1>, <d>)" for name in SCANS),
    "<f> + <same>", "<f> - <same>", "<f> * <same>", "<f> / <same>", "<f> @ <w:s[-1],3>", "<f> ** 2", "<f> ** <same>", "-<f>", "<x> + <small>",
    "<f> * <num>", "<num> - <f>", "<num> / <f>", "<f> // <num>", "<f> % <num>", "<x> * <o>", "<f> + <i>", "<i> / <count>", "<i> // <count>",
    "<i> % <count>", "<i> & <small>", "<i> ^ <small>", "<i> << 1", "~<b>", "<b> & <mask>", "<b> | <mask>", "<i> * <num>", "abs(<f>)",
    "torch.pow(<f>, <small>)", "torch.pow(<num>, <f>)", "torch.pow(<f>, torch.inf)", "torch.clamp(<f>, <num>, <num>)", "torch.clamp(<f>, min=<num>)",
    "torch.where(<mask>, <x>, <same>)", "torch.where(<f> > 0, <f>, <num>)", "torch.lerp(<f>, <like>, <num>)", "torch.addcmul(<f>, <same>, <same>)",
    "torch.add(<f>, <same>, alpha=<num>)", "torch.sub(<f>, <same>, alpha=<small>)", "torch.rsub(<f>, <num>)", "torch.div(<f>, <same>, rounding_mode='floor')",
    "torch.div(<x>, <count>, rounding_mode='trunc')", "torch.addcdiv(<f>, <same>, <same>.abs() + 1)", "torch.heaviside(<f>, <same>)",
    "torch.nn.functional.threshold(<f>, <num>, <num>)", "torch.nn.functional.softmax(<f1>, <d>)", "torch.log_softmax(<f1>, <d>)", "torch.softmax(<f>, -1)",
    "torch.nn.functional.glu(torch.cat([<f1>, <f1>], <d>), <d>)", "torch.nn.functional.normalize(<f1>, dim=<d>)", "torch.nn.functional.cosine_similarity(<f1>, <like>, <d>)",
    # reductions
    "<f>.sum()", "<f1>.sum(<d>)", "<f1>.sum(<ds>, keepdim=<yes>)", "<f>.mean()", "<f1>.mean(<ds>, keepdim=<yes>)", "torch.amax(<f1>, <ds>)", "torch.amin(<f1>, <d>, keepdim=<yes>)",
    "<f1>.max(<d>)[0]", "<f1>.max(<d>)[1]", "<f1>.min(<d>).values", "<x>.max()", "torch.argmax(<f1>, <d>)", "torch.argmin(<x1>, <d>, keepdim=<yes>)", "<f1>.prod(<d>)", "<x>.prod()",
    "<f1>.var(<d>)", "<f1>.std(<ds>, keepdim=<yes>)", "torch.var(<f1>, <d>, correction=0)", "torch.var_mean(<f1>, <d>)[1]", "torch.logsumexp(<f1>, <ds>)", "<x>.any()", "<x1>.all(<d>)",
    "<b>.sum()", "<i>.sum()", "<i1>.sum(<d>)", "torch.norm(<f1>, <num>, <d>)", "torch.linalg.vector_norm(<f1>, <small>, <d>)", "torch.count_nonzero(<x1>, <d>)", "<f>.sum(dtype=torch.float64)",
    "torch.aminmax(<f1>, dim=<d>)[<zero1>]", "torch.nansum(<f1>, <d>)", "<f1>.median(<d>)[0]", "torch.dist(<f>, <like>)",
    # views and moves
    "<x>.t()", "<x1>.transpose(<d>, <e>)", "<x>.permute(<perm>)", "<x>.reshape(<shape>)", "<x>.view(<shape>)", "<x>.flatten()", "<x2>.flatten(0, 1)", "<x>.unsqueeze(<d>)", "<x>.unsqueeze(-1)",
    "<x>.squeeze()", "<x1>.squeeze(<d>)", "<x>.expand(<bigger>)", "<x1>.narrow(<d>, <at>, 1)", "<x1>.select(<d>, <at>)", "<x1>[<at0>]", "<x1>[..., <at>]", "<x1>[::2]", "<x1>[1:]", "<x1>[:-1]", "<x2>[:, 1::2]",
    "<x>[None]", "<x1>.flip(<d>)", "<x1>.roll(<small>, <d>)", "<x>.repeat(<bigger>)", "<x1>.repeat_interleave(<count>, <d>)", "<x1>.unfold(<d>, 1, 1)", "<x1>.unfold(<d>, 2, 1)", "<x>.contiguous()", "<x>.clone()",
    "torch.movedim(<x1>, <d>, <e>)", "<x>.as_strided((2, 2), (1, 1))", "<x2>.diagonal()", "torch.diag_embed(<f1>)", "torch.tril(<f2>, <small>)", "torch.triu(<f2>)", "<x2>.mT", "<x>.ravel()", "<x1>.tile(<count>)",
    "torch.cat([<x1>, <like>], <d>)", "torch.stack([<x>, <like>], <d>)", "torch.stack([<x>, <like>], -1)", "torch.cat([<f1>, <f1>[:1]])", "<x1>.split(<count>, <d>)[0]", "<x1>.chunk(2, <d>)[-1]", "<x1>.unbind(<d>)[-1]",
    "torch.tensor_split(<x1>, 2, <d>)[1]", "torch.nn.functional.pad(<x1>, (<small>, <count>))", "torch.nn.functional.pad(<f2>, (<count>, 0, 1, <small>), value=<num>)", "torch.nn.functional.pad(<F3>, (1, 1), mode='reflect')",
    "torch.nn.functional.pad(<F4>, (1, 1, 1, 1), mode='replicate')", "torch.nn.functional.pad(<F3>, (1, 1), mode='circular')", "<x>.detach()", "torch.meshgrid(<f1>.flatten(), <f1>.flatten(), indexing='ij')[0]", "torch.rot90(<x2>)",
    "<x>.to(memory_format=torch.preserve_format, dtype=<dtype>)", "<F4>.contiguous(memory_format=torch.channels_last)", "torch.atleast_2d(<x>)", "<x>.view_as(<like>)", "torch.empty_like(<f>).fill_(<num>)",
    "torch.broadcast_to(<x>, <bigger>)", "<x>.swapaxes(0, -1)", "torch.hstack([<x1>, <like>])", "torch.kron(<f1>, <w:2>)", "torch.outer(<f>.flatten(), <w:3>)",
    # casts and new tensors
    "<x>.to(<to>)", "<f>.to(<dtype>).to(torch.float32)", "<f>.to(torch.int64)", "<x>.bool()", "torch.zeros_like(<f>)", "torch.ones_like(<f>) * <num>", "torch.full_like(<f>, <num>)", "torch.arange(<count>, dtype=torch.float32)",
    "torch.arange(<f1>.shape[0])", "torch.arange(<f1>.shape[-1], dtype=torch.float32) + <f1>", "<f1>.new_zeros(<f1>.shape)", "torch.eye(<count>)", "torch.linspace(<num>, 2.0, <count>)", "<f>.type_as(<like>)",
    "torch.tensor(<num>) * <f>", "torch.scalar_tensor(<num>)", "<f1>.sum() * <f1>.shape[0]", "<x1> * <x1>.size(<d>)", "<x>.numel() + <f>",
    # indexing, gather, scatter
    "<x1>[<ids:s[0]:4>]", "<x1>.index_select(<d>, <ids:s[d]:3>)", "torch.gather(<x1>, <d>, <ids:s[d]:*s>)", "torch.take_along_dim(<f1>, <ids:s[d]:*s>, <d>)", "<f1>.scatter(<d>, <ids:s[d]:*s>, <like>)",
    "<f1>.scatter_add(<d>, <ids:s[d]:*s>, <like>)", "<f1>.scatter_reduce(<d>, <ids:s[d]:*s>, <like>, reduce='amax')", "<f1>.scatter_reduce(<d>, <ids:s[d]:*s>, <like>, reduce='mean', include_self=<yes>)",
    "<f1>.scatter(<d>, <ids:s[d]:*s>, <num>)", "<f1>.index_add(0, <ids:s[0]:s[0]>, <like>)", "<f1>.index_copy(0, torch.arange(<f1>.shape[0]), <like>)", "<f1>.index_fill(<d>, <ids:s[d]:2>, <num>)",
    "<f1>.index_put((<ids:s[0]:3>,), torch.tensor(<num>), accumulate=True)", "<f1>.index_put((torch.arange(<f1>.shape[0]),), <like>, accumulate=<yes>)", "<x2>[<ids:s[0]:3>, <ids:s[1]:3>]", "<x2>[:, <ids:s[1]:3>]",
    "torch.zeros(<f1>.shape).index_add(0, torch.arange(<f1>.shape[0]), <like>)", "torch.zeros_like(<f1>).scatter_add(0, torch.arange(s0).view(-1, *[1] * (<f1>.dim() - 1)).expand_as(<f1>), <like>)",
    "<f>.masked_fill(<mask>, <num>)", "torch.masked_fill(<f>, <f> > 0.5, -torch.inf)", "torch.take(<f>, <ids:1:3>)", "torch.nn.functional.one_hot(<ids:4:3>, 4)", "torch.bucketize(<f>, torch.tensor([-1.0, 0.0, 1.0]))",
    "torch.nn.functional.embedding(<ids:6:2,3>, <w:6,4>)", "torch.nn.functional.embedding_bag(<ids:6:2,3>, <w:6,4>, mode='mean')", "torch.searchsorted(torch.tensor([-1.0, 0.0, 1.0]), <f>)", "torch.bincount(<ids:4:5>, minlength=4)",
    "<f1>.select_scatter(<f1>.select(<d>, <at>) * 2, <d>, <at>)", "<f1>.slice_scatter(<f1>[1:] * 2, 0, 1)", "<f1>.masked_scatter(<mask>, <like>)",
    # sorting
    "torch.sort(<f1>, <d>)[<zero1>]", "torch.topk(<f1>, 1, <d>)[<zero1>]", "torch.argsort(<f1>, <d>, descending=<yes>)", "torch.topk(<f1>, <len>, <d>)[<zero1>]", "torch.cummax(<f1>, <d>)[<zero1>]", "torch.cummin(<f1>, <d>)[0]",
    "torch.kthvalue(<f1>, 1, <d>)[0]", "torch.unique_consecutive(<i1>)",
    # products
    "torch.nn.functional.linear(<f1>, <w:4,s[-1]>, <w:4>)", "torch.nn.functional.linear(<f1>, <w:5,s[-1]>)", "torch.matmul(<f2>, <f2>.mT)", "<f2>.mT @ <f2>", "torch.bmm(<F3>, <F3>.mT)", "torch.addmm(<w:4>, <F2>, <w:s[1],4>)",
    "torch.einsum('...i,ij->...j', <f1>, <w:s[-1],3>)", "torch.einsum('ij,kj->ik', <F2>, <w:3,s[1]>)", "torch.dot(<F1>, <like>)", "torch.mv(<F2>, <w:s[1]>)", "torch.tensordot(<f1>, <w:s[-1],2>, 1)", "torch.baddbmm(<F3>, <F3>, <w:s[0],s[2],s[2]>)",
    "<f2> @ <w:s[-1],s[-1]> @ <w:s[-1],2>", "torch.cdist(<F2>, <w:3,s[1]>)", "torch.nn.functional.bilinear(<F2>, <like>, <w:2,s[1],s[1]>)", "torch.trace(<F2>)", "torch.cross(<f1>, <like>, dim=<d>)", "torch.linalg.multi_dot([<F2>, <w:s[1],3>, <w:3,2>])",
    "torch.nn.functional.scaled_dot_product_attention(<F4>, <like>, <like>)", "torch.nn.functional.scaled_dot_product_attention(<F3>, <F3>, <F3>, is_causal=<yes>)", "torch.nn.functional.scaled_dot_product_attention(<F4>, <w:s[0],s[1],5,s[3]>, <w:s[0],s[1],5,3>)",
    # convolutions, pools, norms
    "torch.nn.functional.conv2d(<F4>, <w:4,s[1],1,1>)", "torch.nn.functional.conv2d(<F4>, <w:3,s[1],3,3>, <w:3>, padding=1)", "torch.nn.functional.conv2d(<F4>, <w:s[1],1,2,2>, groups=<F4>.shape[1], stride=2, padding=1)",
    "torch.nn.functional.conv1d(<F3>, <w:4,s[1],2>, padding=<count>, dilation=<count>)", "torch.nn.functional.conv1d(<F3>, <w:2,s[1],3>, stride=<count>, padding=1)", "torch.nn.functional.conv_transpose2d(<F4>, <w:s[1],2,2,2>, stride=<count>)",
    "torch.nn.functional.conv_transpose1d(<F3>, <w:s[1],3,3>, padding=1)", "torch.nn.functional.max_pool2d(<F4>, 2, padding=1)", "torch.nn.functional.avg_pool2d(<F4>, 2, stride=1)", "torch.nn.functional.avg_pool1d(<F3>, 2, padding=1)",
    "torch.nn.functional.max_pool1d(<F3>, 2, stride=1)", "torch.nn.functional.adaptive_avg_pool2d(<F4>, <count>)", "torch.nn.functional.adaptive_max_pool1d(<F3>, <count>)", "torch.nn.functional.interpolate(<F4>, scale_factor=2)",
    "torch.nn.functional.interpolate(<F4>, size=(5, 3), mode='bilinear')", "torch.nn.functional.interpolate(<F3>, size=5, mode='linear', align_corners=<yes>)", "torch.nn.functional.unfold(<F4>, 2)", "torch.nn.functional.pixel_shuffle(<F4>.repeat(1, 4, 1, 1), 2)",
    "torch.nn.functional.layer_norm(<f1>, (<f1>.shape[-1],))", "torch.nn.functional.layer_norm(<f1>, (<f1>.shape[-1],), <w:s[-1]>, <w:s[-1]>)", "torch.nn.functional.rms_norm(<f1>, (<f1>.shape[-1],))", "torch.nn.functional.group_norm(<f3>, 1)",
    "torch.nn.functional.batch_norm(<f2>, <b:s[1]>, <b:s[1]>.square() + 1, <w:s[1]>, training=<yes>)", "torch.nn.functional.instance_norm(<F3>)", "torch.nn.functional.local_response_norm(<F4>, 2)",
    # losses
    "torch.nn.functional.mse_loss(<f>, <like>)", "torch.nn.functional.l1_loss(<f>, <like>, reduction='none')", "torch.nn.functional.cross_entropy(<F2>, <ids:s[1]:s[0]>)", "torch.nn.functional.smooth_l1_loss(<f>, <like>)",
    "torch.nn.functional.binary_cross_entropy_with_logits(<f>, <like>)", "torch.nn.functional.nll_loss(<F2>, <ids:s[1]:s[0]>)", "torch.nn.functional.kl_div(<f>, <like>, reduction='sum')", "torch.nn.functional.huber_loss(<f>, <like>)",
    # complex numbers
    "torch.complex(<f>, <like>)", "torch.view_as_real(<c>)", "<c>.conj()", "<c>.real", "<c>.imag", "<c> * <same>", "<c> + <same>", "torch.abs(<c>)", "torch.angle(<c>)", "<c>.conj() @ <c>.mT", "<c>.sum()", "torch.exp(<c>)", "<c> / <same>", "<c>.conj().imag",
    "torch.polar(<f>.abs(), <like>)", "<c>.mH", "torch.view_as_complex(torch.stack([<f>, <like>], -1))", "torch.sgn(<c>)", "<c>.resolve_conj()", "<c>.clone()", "-<c>.conj()",
)  # fmt: skip
"""Right-hand sides of assignments."""

EFFECTS: tuple[str, ...] = (
    *(f"<f>.{call}" for call in INPLACE),
    "<f>[0] = <num>", "<x1>[1:] = 0", "<f1>[..., 0].mul_(<num>)", "<f>.t().add_(<num>)", "<f1>[::2].zero_()", "<f1>.select(<d>, <at>).copy_(<num> * <f1>.select(<d>, <at>))", "<f2>[:, 0] += <num>", "<f>.view(-1).add_(1.0)",
    "<x>.add_(1)", "<f1>.index_add_(0, <ids:s[0]:s[0]>, <like>)", "<f1>.scatter_(<d>, <ids:s[d]:*s>, <num>)", "<f1>.index_fill_(<d>, <ids:s[d]:2>, <num>)", "<f1>[<ids:s[0]:3>] = <num>", "<f1>.index_put_((<ids:s[0]:3>,), torch.tensor(<num>))",
    "<f1>[1:].copy_(<f1>[:-1])", "<f1>.cumsum_(<d>)", "<f>[<mask>] = <num>", "<f1>.transpose(0, -1).mul_(<num>)", "<f>.detach().mul_(<num>)", "<f>.data.add_(<num>)", "torch.add(<f>, <same>, out=<like>)", "<f>.resize_as_(<like>)",
    "<f>.clamp_min_(0).mul_(<num>)", "<f>.set_(<like>)",
)  # fmt: skip
"""Statements that write to memory."""

BUFFERS: tuple[str, ...] = (
    "self.<b:4>.add_(1)", "self.<b:1>.mul_(0.5).add_(<f>.mean())", "self.<b:1>.copy_(<f>.sum().reshape(1))", "self.<b:*s>.copy_(<f>)", "self.<b:*s>.lerp_(<f>, 0.25)", "self.<b:*s>[...] = <f>", "self.<b:3> = self.<b:3> + 1",
    "self.n = self.n + 1", "self.<b:*s> += <f>", "self.<b:3>.data.mul_(2)", "self.last = <f>",
)
"""Statements that change the module; a buffer's hole follows `self.`."""

MODULES: tuple[tuple[str, str], ...] = (
    ("<F2>", "torch.nn.Linear({s[1]}, 4)"), ("<f1>", "torch.nn.Sequential(torch.nn.Linear({s[-1]}, {s[-1]}), torch.nn.ReLU())"), ("<f1>", "torch.nn.LayerNorm({s[-1]})"), ("<F4>", "torch.nn.BatchNorm2d({s[1]})"), ("<F3>", "torch.nn.BatchNorm1d({s[1]})"),
    ("<F4>", "torch.nn.Conv2d({s[1]}, 4, 3, padding=1)"), ("<F2>", "torch.nn.BatchNorm1d({s[1]})"), ("<f1>", "torch.nn.Linear({s[-1]}, 3, bias=False)"), ("<F3>", "torch.nn.GRU({s[2]}, 3)"), ("<F3>", "torch.nn.LSTM({s[2]}, 3)"),
    ("<f>", "torch.nn.PReLU()"), ("<F4>", "torch.nn.GroupNorm(1, {s[1]})"), ("<f>", "torch.nn.Identity()"), ("<F3>", "torch.nn.TransformerEncoderLayer({s[2]}, 1, 4, dropout=0.0, batch_first=True)"), ("<F4>", "torch.nn.ConvTranspose2d({s[1]}, 2, 2)"),
    ("<F4>", "torch.nn.Sequential(torch.nn.Conv2d({s[1]}, 3, 1), torch.nn.BatchNorm2d(3), torch.nn.ReLU())"), ("<F4>", "torch.nn.InstanceNorm2d({s[1]}, track_running_stats=True)"),
)  # fmt: skip
"""Modules, and what they take."""

ACTIONS: tuple[str, ...] = (
    "m.{w}.data.mul_(2.0)", "m.{w}.data[0] = 3.0", "m.{w}.data = m.{w}.data * 0.5", "torch.nn.init.ones_(m.{w})", "m.{w} = torch.nn.Parameter(m.{w}.detach() * 2)", "m.{w}.detach().sub_(0.5)", "m.{w}.detach().numpy()[...] = 0.25",
    "m.{b}.add_(1)", "m.{b} = m.{b} * 2", "m.{b}.data.mul_(3)", "m.{b}.fill_(1e38)", "m.load_state_dict({{k: v * 2 for k, v in m.state_dict().items()}})", "m.eval()", "m.train()", "m.{s}.append(torch.nn.Tanh())",
    "m.{s}[0] = torch.nn.Linear(m.{s}[0].in_features, m.{s}[0].out_features)", "m.n = 5", "m.zero_grad()", "m.requires_grad_(False)", "m.{l}.weight.data.mul_(0.5)", "m.double().float()", "m.extra = 1",
)  # fmt: skip
"""What happens to a module between calls: {w} is a parameter, {b} a buffer, {s} a Sequential, {l} a module with a weight."""
