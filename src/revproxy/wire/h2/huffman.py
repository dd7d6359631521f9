"""The Huffman code of HPACK (RFC 7541 5.2 and appendix B), decoding only.

Owns the code and the automaton that reads it. Refuses to know what the strings are.
"""

from __future__ import annotations

_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c"
    "060a0a0c0d06080b0a0a080b080606060505050606060606060607080f060c0a"
    "0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c"
    "1416141416161617161717171717181718181617181717171715161716171718"
    "1615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b"
    "14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a"
    "1e"
)
"""Bits of the code of each byte, then of EOS. The code is canonical: lengths say it all."""

_EOS = 256
_MAX_PADDING = 7

_Node = list["_Node | int"]


def _tree() -> _Node:
    """The code as a binary tree: two children each, a symbol at each leaf."""
    root: _Node = []
    code = last = 0
    for length, symbol in sorted(zip(_LENGTHS, range(_EOS + 1), strict=True)):
        code <<= length - last
        last = length
        node = root
        for bit in f"{code:0{length}b}"[:-1]:
            at = int(bit)
            if at == len(node):
                node.append([])
            child = node[at]
            assert isinstance(child, list)
            node = child
        node.append(symbol)
        code += 1
    return root


class _State(dict[int, "tuple[_State, bytes]"]):
    """Where a byte begins in the tree: what each byte leads to and stands for.

    The 65 536 transitions are found as they are needed; real traffic uses a few thousand.
    """

    __slots__ = ("_node", "may_end")

    def __init__(self, node: _Node, path: str) -> None:
        self._node = node
        self.may_end = len(path) <= _MAX_PADDING and "0" not in path

    def __missing__(self, byte: int) -> tuple[_State, bytes]:
        """Walk the tree for the bits of ``byte``.

        Raises:
            ValueError: it completes EOS.
        """
        node, symbols = self._node, b""
        path = ""
        for bit in f"{byte:08b}":
            child = node[int(bit)]
            path += bit
            if isinstance(child, list):
                node = child
            elif child == _EOS:
                raise ValueError("end of string within a string")
            else:
                symbols += bytes((child,))
                node, path = _ROOT, ""
        self[byte] = found = _state(node, path), symbols
        return found


_ROOT = _tree()
_states: dict[int, _State] = {}


def _state(node: _Node, path: str) -> _State:
    """The state at ``node``.

    ``path`` are the bits of one byte that lead there: all 8 when it is further from the root
    than that, and then it is no padding.
    """
    found = _states.get(id(node))
    if found is None:
        found = _states[id(node)] = _State(node, path)
    return found


_START = _states[id(_ROOT)] = _State(_ROOT, "")


def decode_huffman(encoded: bytes) -> bytes:
    """The string that ``encoded`` stands for: at most 8/5 of its length.

    Raises:
        ValueError: it holds EOS, or its padding is not the first bits of EOS, 7 at the most.
    """
    state = _START
    symbols: list[bytes] = []
    append = symbols.append
    for byte in encoded:
        state, piece = state[byte]
        append(piece)
    if not state.may_end:
        raise ValueError("invalid padding of a string")
    return b"".join(symbols)
