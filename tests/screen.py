"""A terminal for tests: a real one underneath, and what a person would see on it."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Callable

ROWS = 50
CONTROL = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])")


class Screen:
    """Lines of signs, drawn upon as a terminal does it."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.cursor = True
        self.raw = ""
        self._lines: list[list[str]] = [[]]
        self._x = self._y = 0
        self._rest = ""

    @property
    def lines(self) -> list[str]:
        """The lines, without the blanks at their ends."""
        return ["".join(line).rstrip() for line in self._lines]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def colours(self) -> set[str]:
        """The codes of colours that were used: of letters 3x, 9x and 38, of the ground 4x."""
        used = {
            part
            for told, kind in CONTROL.findall(self.raw)
            if kind == "m"
            for part in told.split(";")
        }
        return {code for code in used if re.fullmatch(r"[349]\d|10\d", code)} - {"39", "49"}

    def feed(self, text: str) -> None:
        """Draw what a program has written."""
        self.raw += text
        text, self._rest = self._rest + text, ""
        while text:
            control = CONTROL.match(text)
            if control:
                self._control(*control.groups())
                text = text[control.end() :]
            elif text[0] == "\x1b":  # the rest of it is still to come
                self._rest = text
                return
            else:
                self._sign(text[0])
                text = text[1:]

    def _control(self, told: str, kind: str) -> None:
        many = int(told) if told.isdigit() else 1
        if kind == "A":
            self._y = max(0, self._y - many)
        elif kind == "K":
            line = self._line()
            del line[0 if told == "2" else self._x :]
        elif kind in "hl" and told == "?25":
            self.cursor = kind == "h"
        else:
            assert kind == "m", f"unknown control {told}{kind}"

    def _sign(self, sign: str) -> None:
        if sign == "\r":
            self._x = 0
        elif sign == "\n":
            self._y += 1
            self._line()
        else:
            if self._x >= self.columns:
                self._x, self._y = 0, self._y + 1
            line = self._line()
            line.extend(" " * (self._x + 1 - len(line)))
            line[self._x] = sign
            self._x += 1

    def _line(self) -> list[str]:
        self._lines.extend([] for _ in range(self._y + 1 - len(self._lines)))
        return self._lines[self._y]


def on_terminal(
    command: list[str],
    columns: int,
    *,
    environment: dict[str, str],
    cwd: os.PathLike[str] | str,
    look: Callable[[Screen], bytes | None] = lambda _: None,
    patience: float = 120.0,
) -> tuple[int, Screen]:
    """Run a program on a terminal of its own; give its exit code and the screen.

    Parameters
    ----------
    look : callable
        Sees the screen whenever it has changed; what it gives is typed, such as ``b"\\x03"``.
    """
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execvpe(command[0], command, environment)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    screen = Screen(columns)
    until = time.monotonic() + patience
    received = b""
    try:
        while time.monotonic() < until:
            if not select.select([master], [], [], 0.1)[0]:
                continue
            try:
                some = os.read(master, 65536)
            except OSError:  # the program has ended
                break
            if not some:
                break
            received += some
            text = received.decode("utf-8", "ignore")
            # What comes in one piece may draw over itself, and a person saw all of it.
            for picture in re.split(r"(?=\r)", text[len(screen.raw) :]):
                screen.feed(picture)
                typed = look(screen)
                if typed:
                    os.write(master, typed)
        else:
            os.kill(pid, 9)
    finally:
        os.close(master)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), screen
