"""A conversation with `minicpmo run` over a pseudo-terminal: commands, answers, Ctrl-C, completion, history, paste.

    chat.py PROGRAM MODEL DATA_DIR TMP_DIR      last line: "counts PASSED FAILED"
"""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

program, model, data, tmp = map(os.path.abspath, sys.argv[1:5])
counts = [0, 0]

# Under a leak checker: libedit never frees the names of functions that are bound to keys.
with open(os.path.join(tmp, "leaks"), "w", encoding="utf8") as f:
    f.write("leak:wcsdup\n")
os.environ["LSAN_OPTIONS"] = f"suppressions={tmp}/leaks:print_suppressions=0"


def check(name, ok, seen=""):
    counts[0 if ok else 1] += 1
    if not ok:
        print(f"FAIL  conversation: {name}\n      seen: {seen!r}")


class Chat:
    """The program on a terminal of its own; stdout may go to a file instead, which shows what is answer and what story."""

    def __init__(self, *options, env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm", "XDG_STATE_HOME": os.path.join(tmp, "state"), **(env or {})})
            os.execv(program, [program, "run", model, "--greedy", *options])

    def read(self, until, seconds=90, after=""):
        """What the terminal shows until that text comes (behind `after`), or time is up."""
        seen, end = "", time.time() + seconds
        while until not in (seen.partition(after)[2] if after else seen) and time.time() < end:
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            try:
                got = os.read(self.fd, 65536)
            except OSError:  # the other side is closed
                break
            if not got:
                break
            seen += got.decode("utf8", "replace")
        return seen

    def send(self, text):
        time.sleep(0.05)  # the prompt is shown a moment before the line editor takes the keys
        os.write(self.fd, text.encode())

    def say(self, line, until="> "):
        self.send(line + "\n")
        return self.read(until, after="\n")  # behind the echo

    def end(self):
        """Exit code, or minus the signal."""
        end = time.time() + 30
        while time.time() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return "hangs"


def talk():
    saved = os.path.join(tmp, "saved.json")
    c = Chat("--max-tokens", "12")
    seen = c.read("> ")
    check("greets", "/help" in seen and "MiniCPM-o 4.5: text, pictures and sound." in seen, seen)
    seen = c.say("/help")
    check("/help", "/image" in seen and "/exit" in seen, seen)
    seen = c.say(f"/image {tmp}/none.png")
    check("a picture that is not there is one sentence", "cannot open" in seen, seen)
    seen = c.say(f"/image {data}/demo.png")
    check("/image", "is in the message" in seen, seen)
    seen = c.say(f"/audio '{data}/demo.wav'")
    check("/audio, a name in quotes", "is in the message" in seen, seen)
    seen = c.say("What is it?")
    check("an answer", "cut off" in seen and len(seen) > 20, seen)
    seen = c.say("And héllo 你好?")
    check("a second answer", "cut off" in seen, seen)
    seen = c.say("/nonsense")
    check("an unknown command", "there is no command" in seen, seen)
    seen = c.say(f"/save {saved}")
    check("/save", "saved in" in seen, seen)
    with open(saved, encoding="utf8") as f:
        messages = json.load(f)
    check("roles", [m["role"] for m in messages] == ["user", "assistant", "user", "assistant"], messages)
    check("media and text in their order", [p["type"] for p in messages[0]["content"]] == ["image", "audio", "text"], messages)
    check("text as it was typed", messages[2]["content"][0]["text"] == "And héllo 你好?", messages)
    check("nothing is left beside the file", not [n for n in os.listdir(tmp) if n.startswith("saved.json.")])
    seen = c.say(f"/save {tmp}/none/saved.json")
    check("/save where nothing can be", "cannot write" in seen, seen)
    seen = c.say("/clear")
    check("/clear", "a new conversation" in seen, seen)
    seen = c.say("/system Be brief.")
    check("/system", "system message" in seen, seen)
    c.send("one\ntwo\nthree\n")  # a paste
    c.read("> ", after="cut off")
    c.say(f"/save {saved}")
    with open(saved, encoding="utf8") as f:
        messages = json.load(f)
    check("the system message comes first", messages[0]["role"] == "system" and messages[0]["content"][0]["text"] == "Be brief.", messages)
    check("a paste is one message", messages[1]["content"][0]["text"] == "one\ntwo\nthree" and len(messages) == 3, messages)
    c.send("/exit\n")
    code = c.end()
    check("/exit", code == 0, code)


def interrupt():
    c = Chat("--max-tokens", "16000", "--ctx", "20000")
    c.read("> ")
    c.send("Go on.\n")
    c.read("hhh")
    c.send("\x03")
    seen = c.read("> ", after="(interrupted)")
    check("Ctrl-C stops the answer", "(interrupted)" in seen, seen[-200:])
    seen = c.say("/help")
    check("and only the answer", "/image" in seen, seen)
    c.send("half a line")
    c.read("line")
    c.send("\x03")
    c.read("> ")
    c.send("\x03")
    code = c.end()
    check("Ctrl-C with an empty line leaves", code == 0, code)


def interrupt_a_blocked_write():
    """Ctrl-C while whoever reads is slow: what was written stays written, and is no failure."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    command = [program, "run", model, "--greedy", "--max-tokens", "16000", "--ctx", "20000", "-p", "Go on."]
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    waiting, end = 0, time.time() + 60
    while waiting < 4000 and time.time() < end:
        time.sleep(0.05)
        waiting = struct.unpack("i", fcntl.ioctl(read_end, termios.FIONREAD, b"\0" * 4))[0]
    time.sleep(0.5)  # now it waits in a write
    p.send_signal(signal.SIGINT)
    time.sleep(0.2)
    text = b"".join(iter(lambda: os.read(read_end, 65536), b""))
    os.close(read_end)
    said = p.communicate()[1].decode()
    check("the pipe was full", waiting >= 4000, waiting)
    check("Ctrl-C in a write that waits loses nothing", len(text) > 4096 and "cannot write" not in said, (len(text), said[-200:]))


def leave_by_ctrl_d():
    c = Chat()
    c.read("> ")
    c.send("\x04")
    code = c.end()
    check("Ctrl-D leaves", code == 0, code)


def complete():
    os.makedirs(os.path.join(tmp, "pictures"), exist_ok=True)
    for name in ("red-1.png", "red-2.png", "blue.png"):
        os.symlink(f"{data}/demo.png", os.path.join(tmp, "pictures", name))
    c = Chat("--max-tokens", "4")
    c.read("> ")
    c.send("/im\t")
    seen = c.read("age ", 5)
    if "age " not in seen:
        print("SKIPPED: completion: built without libedit")
        c.send("\x03")
        c.end()
        return
    c.send(f"{tmp}/pict\tb\t\n")
    seen = c.read("> ", 30, after="is in the message")
    check("a file name is completed", "pictures/blue.png is in the message" in seen, seen)
    c.send(f"/image {tmp}/pictures/r\t\t")
    seen = c.read("red-2.png", 30)
    check("candidates are listed", "red-1.png" in seen and "red-2.png" in seen, seen)
    c.send("\x03")
    c.read("> ")
    c.send("\x04")
    c.end()
    c = Chat("--max-tokens", "4")
    c.read("> ")
    c.send("\x10\n")  # Ctrl-P: the line before, of the last program
    seen = c.read("> ", 30, after="is in the message")
    check("history outlives the program", "pictures/blue.png is in the message" in seen, seen)
    c.send("\x04")
    check("leaves", c.end() == 0)
    c = Chat("--max-tokens", "4", env={"XDG_STATE_HOME": "/proc/nowhere"})
    c.read("> ")
    seen = c.say("Hi")
    c.send("\x04")
    check("a history that cannot be written is no error", c.end() == 0 and "minicpmo:" not in seen, seen)


for part in (talk, interrupt, interrupt_a_blocked_write, leave_by_ctrl_d, complete):
    part()
print("counts", *counts)
