"""Coroutines of weir in gdb: in a living process and in a core file, with the debug information of
the library and without.

    (gdb) source /usr/share/weir/weir-gdb.py      where it has not loaded itself
    (gdb) weir coroutines                         every coroutine that waits, with its stack
    (gdb) weir coroutines brief                   a line each
    (gdb) weir coroutines 3                       the third one of that list alone

A coroutine that waits left its registers on its stack. An unwinder puts that place behind the frame
at which the thread has stopped, and gdb goes up from there; no register of the process is changed.
"""

import struct

import gdb
import gdb.unwinder

LAYOUT = ("version frame loops loop_stride loop_count loop_id loop_pool co local_code local_scope "
          "scope_name").split()
LAYOUT_CO = "pool_alive co_node co_state state_suspended co_sp co_low co_high co_fn co_room".split()

# By weir__debugger.frame: the stack pointer, the program counter, how many bytes the switch left on
# the stack, and where in them each register lies.
FRAMES = {
    1: ("rsp", "rip", 64, {"r15": 8, "r14": 16, "r13": 24, "r12": 32, "rbx": 40, "rbp": 48,
                           "rip": 56}),
    2: ("sp", "pc", 176, {"x%d" % n: 80 + 8 * (n - 19) for n in range(19, 31)}),
}
FRAMES[2][3]["pc"] = FRAMES[2][3]["x30"]
FRAMES_MAX = 100


def words(address, count):
    memory = gdb.selected_inferior().read_memory(address, 8 * count)
    return struct.unpack("<%dQ" % count, bytes(memory))


def word(address):
    return words(address, 1)[0]


def small(address, size):
    memory = gdb.selected_inferior().read_memory(address, size)
    return int.from_bytes(bytes(memory), "little")


def text(address):
    """A string of the program, or None."""
    try:
        return gdb.Value(address).cast(gdb.lookup_type("char").pointer()).string() if address else None
    except gdb.error:
        return None


def function(address):
    """The name of the function at an address, with its file where that is known."""
    symbol = gdb.execute("info symbol %#x" % address, to_string=True).split()
    name = symbol[0] if symbol and symbol[0] != "No" else "%#x" % address
    sal = gdb.find_pc_line(address)
    return "%s (%s:%d)" % (name, sal.symtab.filename, sal.line) if sal.symtab else name


class Layout:
    def __init__(self):
        try:
            at = int(gdb.parse_and_eval("(unsigned long)&weir__debugger"))
        except gdb.error:
            raise gdb.GdbError("This program has no weir (or it is stripped and linked statically).")
        values = words(at, len(LAYOUT))
        if values[0] != 1:
            raise gdb.GdbError("This weir is of another version than this script (%d)." % values[0])
        self.__dict__.update(zip(LAYOUT, values))
        self.__dict__.update(zip(LAYOUT_CO, words(self.co, len(LAYOUT_CO))))


class Coroutine:
    def __init__(self, layout, loop, address):
        self.layout, self.loop, self.address = layout, loop, address
        self.waits = small(address + layout.co_state, 1) == layout.state_suspended
        self.sp = word(address + layout.co_sp)
        self.low, self.high = word(address + layout.co_low), word(address + layout.co_high)
        room = address + layout.co_room
        self.code = word(room + layout.local_code) or word(address + layout.co_fn)
        scope = word(room + layout.local_scope)
        self.scope = text(word(scope + layout.scope_name)) if scope else None

    def registers(self):
        """What its registers were when it left, or None."""
        if not self.waits or self.layout.frame not in FRAMES or not self.low <= self.sp < self.high:
            return None
        sp_name, _, size, offsets = FRAMES[self.layout.frame]
        found = {name: word(self.sp + offset) for name, offset in offsets.items()}
        found[sp_name] = self.sp + size
        return found

    def headline(self, number):
        line = "%d: %s, loop %d, at %#x" % (number, function(self.code), self.loop, self.address)
        if self.scope is not None:
            line += ", in the scope \"%s\"" % self.scope
        if not self.waits:
            return line + ": runs now; see \"backtrace\" in its thread"
        return line + ", %d of %d bytes of stack" % (self.high - self.sp, self.high - self.low)


def coroutines():
    layout = Layout()
    for index in range(layout.loop_count):
        loop = word(layout.loops + index * layout.loop_stride)
        pool = word(loop + layout.loop_pool) if loop else 0
        if not pool:
            continue
        head = pool + layout.pool_alive
        node = word(head)
        while node != head:
            yield Coroutine(layout, small(loop + layout.loop_id, 4), node - layout.co_node)
            node = word(node)


class Id:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class Waiting(gdb.unwinder.Unwinder):
    """While `registers` is set, they are those of the caller of the frame at which it stopped."""

    def __init__(self):
        super().__init__("weir")
        self.registers = None
        self.names = self.top = self.below = None

    def show(self, coroutine):
        self.names = FRAMES[coroutine.layout.frame][:2]
        newest = gdb.newest_frame()
        self.top = tuple(int(newest.read_register(name)) for name in self.names)
        self.below = coroutine.low
        self.registers = coroutine.registers()
        gdb.invalidate_cached_frames()

    def hide(self):
        self.registers = None
        gdb.invalidate_cached_frames()

    def __call__(self, pending):
        if self.registers is None:
            return None
        now = tuple(int(pending.read_register(name)) for name in self.names)
        if now != self.top:
            return None
        # gdb gives up where a caller's frame lies below: so this one is said to be below all of it.
        info = pending.create_unwind_info(Id(gdb.Value(self.below), gdb.Value(now[1])))
        for name, value in self.registers.items():
            kind = pending.read_register(name).type
            info.add_saved_register(name, gdb.Value(value).cast(kind))
        return info


def arguments(frame):
    try:
        block = frame.block()
        while block is not None and block.function is None:
            block = block.superblock
        return ", ".join("%s=%s" % (symbol.name, symbol.value(frame).format_string(max_elements=16))
                         for symbol in block if symbol.is_argument)
    except (RuntimeError, gdb.error, TypeError):
        return ""


def frame_line(number, frame):
    sal = frame.find_sal()
    place = " at %s:%d" % (sal.symtab.filename, sal.line) if sal.symtab else ""
    if not place:
        library = gdb.solib_name(frame.pc())
        place = " from %s" % library if library else ""
    return "    #%-2d %#018x in %s (%s)%s" % (number, frame.pc(), frame.name() or "??",
                                             arguments(frame), place)


def print_frames(unwinder, coroutine):
    if coroutine.registers() is None:
        if coroutine.waits:
            print("    its registers are not where this script could read them (ucontext)")
        return
    unwinder.show(coroutine)
    try:
        frame = gdb.newest_frame().older()
        for number in range(FRAMES_MAX):
            # Where it began it was called from the loop, which is elsewhere by now.
            if frame is None or int(frame.read_register(unwinder.names[0])) >= coroutine.high:
                return
            print(frame_line(number, frame))
            frame = frame.older()
        print("    (more)")
    finally:
        unwinder.hide()


class Weir(gdb.Command):
    """Commands for programs of weir: weir coroutines."""

    def __init__(self):
        super().__init__("weir", gdb.COMMAND_STACK, gdb.COMPLETE_NONE, True)


class Coroutines(gdb.Command):
    """Lists the coroutines that wait, with their stacks.
Usage: weir coroutines [brief | NUMBER]"""

    def __init__(self, unwinder):
        super().__init__("weir coroutines", gdb.COMMAND_STACK)
        self.unwinder = unwinder

    def invoke(self, argument, from_tty):
        argument = argument.strip()
        if argument not in ("", "brief") and not argument.isdigit():
            raise gdb.GdbError("Usage: weir coroutines [brief | NUMBER]")
        gdb.newest_frame()  # an error of gdb's where there is no process
        count = 0
        for count, coroutine in enumerate(coroutines(), 1):
            if argument.isdigit() and count != int(argument):
                continue
            print(coroutine.headline(count))
            if argument != "brief":
                print_frames(self.unwinder, coroutine)
        if not argument.isdigit():
            print("%d coroutines" % count)
        elif int(argument) not in range(1, count + 1):
            raise gdb.GdbError("There are %d coroutines." % count)


UNWINDER = Waiting()
gdb.unwinder.register_unwinder(None, UNWINDER, True)
Weir()
Coroutines(UNWINDER)
