"""Fibers for gdb: `fiber list` and `fiber bt [ID]`. See docs/fibers.md.

    gdb -x tools/fiber_gdb.py -p PID        a process that runs
    gdb -x tools/fiber_gdb.py BINARY CORE   one that died

Nothing of the process is changed: a parked fiber is shown by telling gdb's unwinder that the
innermost frame was called from where the fiber parked. So it works on core files too.
"""

import re

import gdb
import gdb.unwinder

STATES = ("ready", "running", "waiting", "done")
FOREVER = 2**63 - 1
NS_PER_MS = 1000 * 1000

# What context_switch_asm leaves on a stack, in words from the saved stack pointer on: see
# src/fiber/context_*.S. (registers, bytes that are popped, the register of the return address)
FRAMES = {
    "i386:x86-64": ({"r15": 0, "r14": 1, "r13": 2, "r12": 3, "rbx": 4, "rbp": 5, "rip": 6}, 56,
                    "rip", "rsp"),
    "aarch64": ({**{f"x{19 + i}": i for i in range(12)}, "pc": 11}, 160, "pc", "sp"),
}


def pointer(value):
    return int(value.cast(gdb.lookup_type("unsigned long")))


def text_of(value):
    return value.string(errors="replace") if pointer(value) else "-"


def elements(head, type_name, member):
    """What an intrusive list holds: see src/base/list.h."""
    kind = gdb.lookup_type(type_name)
    offset = next(f.bitpos // 8 for f in kind.fields() if f.name == member)
    node = head["next"]
    while pointer(node) != pointer(head.address):
        yield (node.cast(gdb.lookup_type("char").pointer()) - offset).cast(kind.pointer())
        node = node["next"]


def loop_of_thread():
    """The loop of the selected thread, or None."""
    symbol = gdb.lookup_static_symbol("this_loop")
    try:
        loop = symbol.value() if symbol else gdb.parse_and_eval("(struct loop *)this_loop")
        return loop if pointer(loop) else None
    except gdb.error:
        pass
    frame = gdb.newest_frame()  # a core file may come without thread-local variables
    while frame is not None:
        if frame.name() == "loop_run":
            try:
                loop = frame.read_var("l")
                return None if loop.is_optimized_out else loop
            except (gdb.error, ValueError):
                return None
        frame = frame.older()
    return None


class Selection:
    """Puts the thread and the frame back that the user had selected."""

    def __enter__(self):
        self.thread = gdb.selected_thread()
        if self.thread is None:
            raise gdb.GdbError("there is no process: attach to one, or open a core file")
        self.frame_level = gdb.selected_frame().level()
        return self

    def __exit__(self, *_):
        self.thread.switch()
        frame = gdb.newest_frame()
        for _ in range(self.frame_level):
            frame = frame.older() or frame
        frame.select()


def all_fibers():
    """(thread, loop, fiber) of every fiber of every thread; selects each thread in turn."""
    for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
        thread.switch()
        loop = loop_of_thread()
        if loop is None:
            continue
        for fiber in elements(loop["all"], "struct fiber", "all"):
            yield thread, loop, fiber


def describe(loop, fiber):
    state = int(fiber["state"])
    words = STATES[state] if state < len(STATES) else f"state {state}"
    if words == "waiting":
        words += f" for {text_of(fiber['waiting_for'])}"
        if int(fiber["wait_deadline"]) != FOREVER:
            left = (int(fiber["wait_deadline"]) - int(loop["now_ns"])) // NS_PER_MS
            words += f", {left} ms left"
    reason = str(fiber["cancelled"])
    if reason != "CANCEL_NONE":
        words += f", cancelled: {reason.removeprefix('CANCEL_').lower().replace('_', ' ')}"
    return f"{text_of(fiber['name'])}  {text_of(fiber['label'])}  {words}"


class Parked(gdb.unwinder.Unwinder):
    """While `registers` is set: the innermost frame was called by a parked fiber."""

    def __init__(self):
        super().__init__("penstock-fiber")
        self.registers, self.frame_id = None, None

    def __call__(self, pending):
        if self.registers is None or pending.level() != 0:
            return None
        info = pending.create_unwind_info(self.frame_id)
        for name, value in self.registers.items():
            info.add_saved_register(name, value)
        return info


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


PARKED = Parked()


def saved_registers(fiber):
    """name -> value of what context_switch_asm kept, and the name of the program counter."""
    architecture = gdb.newest_frame().architecture().name()
    if architecture not in FRAMES or "sp" not in [f.name for f in fiber["context"].type.fields()]:
        raise gdb.GdbError(f"the stacks of {architecture} are not known to this script")
    layout, size, pc, sp = FRAMES[architecture]
    word = gdb.lookup_type("unsigned long")
    base = pointer(fiber["context"]["sp"])
    words = gdb.Value(base).cast(word.pointer())
    registers = {name: words[index] for name, index in layout.items()}
    registers[sp] = gdb.Value(base + size).cast(word)
    return registers, pc, sp


def is_unborn(registers, pc):
    symbol = gdb.lookup_minimal_symbol("context_entry_asm") \
        if hasattr(gdb, "lookup_minimal_symbol") else None
    entry = symbol.value() if symbol else gdb.parse_and_eval("(void *)&context_entry_asm")
    return pointer(registers[pc]) == pointer(entry)


def parked_backtrace(fiber):
    registers, pc, sp = saved_registers(fiber)
    if is_unborn(registers, pc):
        return f"it has not run yet; it begins in {fiber['fn']}\n"
    PARKED.registers = registers
    PARKED.frame_id = FrameId(registers[sp] - 16, registers[pc])
    gdb.invalidate_cached_frames()
    try:
        lines = gdb.execute("backtrace", to_string=True)
    finally:
        PARKED.registers = None
        gdb.invalidate_cached_frames()
    # The innermost frame is the thread's own.
    _, _, lines = lines.partition("\n#1 ")
    return re.sub(r"^#(\d+)( *)", lambda m: f"#{int(m[1]) - 1}{m[2]}", "#1 " + lines, flags=re.M)


class FiberCommand(gdb.Command):
    """Shows the fibers of the process: fiber list, fiber bt [ID]."""

    def __init__(self):
        super().__init__("fiber", gdb.COMMAND_STACK, prefix=True)


class FiberList(gdb.Command):
    """Every fiber of every thread: thread, id, name, label, what it waits for, until when."""

    def __init__(self):
        super().__init__("fiber list", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        count = 0
        with Selection():
            for thread, loop, fiber in all_fibers():
                count += 1
                print(f"thread {thread.num}  fiber {int(fiber['id'])}  {describe(loop, fiber)}")
        print(f"{count} fiber{'' if count == 1 else 's'}")


class FiberBacktrace(gdb.Command):
    """fiber bt ID: where the fiber parked. Without ID: all of them. The same id may occur on
several threads; all that have it are shown."""

    def __init__(self):
        super().__init__("fiber bt", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        wanted = argument.strip()
        if wanted and not wanted.isdigit():
            raise gdb.GdbError("usage: fiber bt [ID]")
        found = False
        with Selection():
            for thread, loop, fiber in all_fibers():
                if wanted and int(fiber["id"]) != int(wanted):
                    continue
                found = True
                print(f"thread {thread.num}  fiber {int(fiber['id'])}  {describe(loop, fiber)}")
                is_running = pointer(loop["current"]) == pointer(fiber)
                print(gdb.execute("backtrace", to_string=True) if is_running
                      else parked_backtrace(fiber), end="")
        if not found:
            raise gdb.GdbError(f"there is no fiber {wanted}" if wanted else "there is no fiber")


gdb.unwinder.register_unwinder(None, PARKED, replace=True)
FiberCommand()
FiberList()
FiberBacktrace()
