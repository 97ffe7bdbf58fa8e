"""A second device for tests: tensors that compute on the CPU, say that they are on "meta" and meet none of the CPU.

A machine without an accelerator so finds what only fails on one: a tensor that was made, loaded or left on the CPU
and meets one of the world's device. What differs there in numbers or speed it does not.

    with pretended():
        torch.ones(3, device=DEVICE) + torch.ones(3)      # RuntimeError, as on CUDA

As on CUDA a number (a tensor without dimensions) of the CPU is welcome everywhere, and so are indices; numpy reads
what is on the CPU alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = "meta"
"""The name that it takes: the only device beside the CPU that every build of torch knows."""

_OPS = torch.ops.aten
_MOVES = (_OPS._to_copy.default, _OPS.copy_.default)
_INDEXING = (_OPS.index.Tensor, _OPS.index_put.default, _OPS.index_put_.default, _OPS._index_put_impl_.default)


class _There(Tensor):
    """A tensor of the pretended device."""

    inner: Tensor
    """What it holds, on the CPU."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> _There:
        made = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=torch.device(DEVICE)
        )
        made.inner = inner
        return made

    def tolist(self) -> list[Any]:
        """As any tensor's, which torch refuses to read of a subclass."""
        return self.inner.tolist()

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_places(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_places(index), value)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees what is made without a tensor, too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


def _places(index: Any) -> Any:
    """Lists among the indices as tensors of the CPU: torch makes them on "meta", where they have no values."""
    if isinstance(index, tuple):
        return tuple(_places(one) for one in index)
    return torch.tensor(index) if isinstance(index, list) else index


def _dispatch(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, _There)]
    here = [tensor for tensor in tensors if not isinstance(tensor, _There) and tensor.dim()]
    if there and here and func not in _MOVES and not (func in _INDEXING and isinstance(args[0], _There)):
        raise RuntimeError(f"{func} of tensors on {DEVICE} and on cpu, {[tuple(tensor.shape) for tensor in here]}")
    asked = kwargs.get("device")
    leads = bool(there) if asked is None else torch.device(asked).type == DEVICE
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain_args, plain_kwargs = tree_map_only(_There, lambda tensor: tensor.inner, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)
    if func is _OPS.copy_.default:
        return args[0]
    known = {id(tensor.inner): tensor for tensor in there}  # what an operation in place gives back
    wrap = lambda new: known[id(new)] if id(new) in known else _There(new)  # noqa: E731
    return tree_map_only(Tensor, wrap, result) if leads else result


@contextmanager
def pretended() -> Iterator[None]:
    """Within it the device exists."""
    patches = [mock.patch.object(torch, name, _valued(getattr(torch, name))) for name in ("tensor", "as_tensor")]
    patches.append(mock.patch("torch.optim.adam._device_dtype_check_for_fused"))  # refuses "meta"
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(_Mode())
        yield


def _valued(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """As torch's own, which gives tensors on "meta" no values."""

    def made(data: Any, *, device: Any = None, **how: Any) -> Tensor:
        tensor = make(data, **how)
        return tensor if device is None else tensor.to(device)

    return made
