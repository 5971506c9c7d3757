"""Finds what can be taken out of a C source of this house, and writes the source with a switch
around each such place.

A mutant is one place and one way to break it:

    never    if (x)      the check is made, but never true
    always   if (x)      the check is made, but always true
    call     f(x);       a call whose result nobody uses is left out
    count    n++;        so are ++, --, += and -=,
    flag     f |= x;     and |=, &= and ^=
    early    return x;   a return, continue, break of a loop or goto is left out, unless it is the
                         function's last statement

Left out by rule, as they cannot matter to what the library does or are tests themselves: assertions,
log lines, prefetches, hints to the compiler, and what `if (x) one_statement;` would give twice (never
true is the statement left out). `if (fd >= 0) close(fd);` is not made always true: closing what is no
descriptor fails, and nobody minds.
"""
import re

HARMLESS = re.compile(r"(WEIR_ASSERT\w*|WEIR_DEBUG\w*|static_assert|_Static_assert|assert|weir__log\w*"
                      r"|\w*_log|__builtin_\w+|ASAN_\w+|va_start|va_end|va_copy)$")
KEYWORDS = {"if", "for", "while", "do", "switch", "return", "break", "continue", "goto", "case",
            "default", "else", "sizeof"}
CALL = re.compile(r"[A-Za-z_][\w\[\].]*(?:(?:->|\.)[A-Za-z_][\w\[\].]*)*\s*(?=\()")
STEP = re.compile(r"(?:\+\+|--)|(?:\+\+|--)$")


class Site:
    """number: its switch; kind; line; text: what stands there; begin, end: where (of a check: its
    condition)."""

    def __init__(self, kind, begin, end):
        self.kind, self.begin, self.end = kind, begin, end
        self.number, self.source, self.line, self.text = 0, "", 0, ""


def masked(text):
    """The same text with comments, strings and the preprocessor's lines as blanks."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))

    def literal(match):
        word = match.group(0)
        if word[0] == "/":
            return blank(match)
        return word[0] + "_" * (len(word) - 2) + word[-1]
    text = re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", literal, text,
                  flags=re.S)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.M)


class Parser:
    def __init__(self, text):
        self.text = masked(text)
        self.at = 0
        self.sites = []
        self.loops = []     # what encloses the statement: "loop" or "switch"

    def blanks(self):
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def word(self):
        match = re.compile(r"[A-Za-z_]\w*").match(self.text, self.at)
        return match.group(0) if match else ""

    def close_of(self, at):
        """The place of what closes the bracket at this place."""
        depth = 0
        while True:
            char = self.text[at]
            if char in "([{":
                depth += 1
            elif char in ")]}":
                depth -= 1
                if depth == 0:
                    return at
            at += 1

    def condition(self):
        """Steps over "(...)"; gives what is between."""
        self.at = self.text.index("(", self.at)
        begin, end = self.at, self.close_of(self.at)
        self.at = end + 1
        return begin + 1, end

    def site(self, kind, begin, end):
        self.sites.append(Site(kind, begin, end))

    def functions(self):
        """Every body: a brace at the outermost level after a closing parenthesis."""
        while True:
            at = self.text.find("{", self.at)
            if at < 0:
                return self.sites
            if self.text[:at].rstrip().endswith(")"):
                self.at = at
                self.statement(last=True)
            else:
                self.at = self.close_of(at) + 1

    def block(self, last):
        self.at += 1
        while True:
            self.blanks()
            if self.text[self.at] == "}":
                self.at += 1
                return
            self.statement()
            ends = self.text[self.at:].lstrip().startswith("}")
            if last and ends and self.sites and self.sites[-1].end == self.at and \
                    self.sites[-1].kind == "early":
                self.sites.pop() # the function's last statement

    def statement(self, last=False):
        self.blanks()
        begin, word = self.at, self.word()
        if self.text[self.at] == "{":
            self.block(last)
        elif word == "if":
            self.check()
        elif word in ("for", "while", "switch"):
            self.condition()
            self.inside("switch" if word == "switch" else "loop")
        elif word == "do":
            self.at += 2
            self.inside("loop")
            self.condition()
            self.at = self.text.index(";", self.at) + 1
        elif word in ("case", "default"):
            self.label()
        elif re.compile(r"[A-Za-z_]\w*\s*:(?!:)").match(self.text, self.at):
            self.at = self.text.index(":", self.at) + 1
            self.statement()
        else:
            self.plain(begin, word)

    def inside(self, what):
        self.loops.append(what)
        self.statement()
        self.loops.pop()

    def label(self):
        while self.text[self.at] != ":":
            self.at += 1
        self.at += 1
        self.blanks()
        if self.text[self.at] != "}":
            self.statement()

    def check(self):
        begin, end = self.condition()
        before = len(self.sites)
        self.site("never", begin, end)
        self.site("always", begin, end)
        self.blanks()
        body = self.at
        self.statement()
        inner = self.sites[before + 2:]
        after = self.at
        self.blanks()
        if self.word() == "else":
            self.at += 4
            self.statement()
            return
        self.at = after
        whole = self.text[body:after].strip()
        if whole.startswith("{"):
            whole = whole[1:-1].strip()
        if len(inner) == 1 and self.text[inner[0].begin:inner[0].end] == whole:
            del self.sites[before + 2]
        closes = re.fullmatch(r"close\((.+)\);", whole)
        if closes and self.text[begin:end].split() == [closes[1], ">=", "0"]:
            del self.sites[before + 1]

    def plain(self, begin, word):
        """An expression, a declaration or a jump, up to its semicolon; or the loop of a macro."""
        at = begin
        while self.text[at] != ";":
            if self.text[at] in "([{":
                closed = self.close_of(at)
                rest = self.text[closed + 1:].lstrip()
                if self.text[at] == "(" and self.text[begin:at].strip() == word and word and \
                        (rest.startswith("{") or re.match(r"[A-Za-z_]", rest)) and \
                        word not in KEYWORDS:
                    self.at = closed + 1
                    self.inside("loop")
                    return
                at = closed
            at += 1
        self.at = at + 1
        text = self.text[begin:self.at]
        if word in ("return", "continue", "goto"):
            self.site("early", begin, self.at)
        elif word == "break":
            if self.loops and self.loops[-1] == "loop":
                self.site("early", begin, self.at)
        else:
            self.expression(begin, text[:-1])

    def expression(self, begin, text):
        call = CALL.match(text)
        if call and self.close_of(begin + call.end()) == begin + len(text.rstrip()) - 1:
            name = call.group(0).strip()
            if name not in KEYWORDS and not HARMLESS.match(name):
                self.site("call", begin, self.at)
        elif STEP.search(text.strip()) and re.match(r"(\+\+|--)?[\w.\->\[\]()* ]+(\+\+|--)?$",
                                                    text.strip()):
            self.site("count", begin, self.at)
        else:
            match = re.match(r"[^=;{]*?\s([-+|&^])= ", text)
            if match:
                self.site("count" if match.group(1) in "+-" else "flag", begin, self.at)


def sites_of(source, text):
    """The places of one file, in their order."""
    found = Parser(text).functions()
    found.sort(key=lambda s: (s.begin, -s.end, s.kind != "never"))
    for site in found:
        site.source, site.line = source, text.count("\n", 0, site.begin) + 1
        site.text = re.sub(r"\s+", " ", text[site.begin:site.end])
    return found


def switched(text, sites):
    """The source with a switch at each place; lines stay where they are."""
    edits = []
    for site in sites:
        if site.kind == "never":
            edits += [(site.begin, 1, "("), (site.end, -1, f") && !WEIR_MUTANT({site.number})")]
        elif site.kind == "always":
            edits += [(site.begin, 0, "("), (site.end, 0, f") || WEIR_MUTANT({site.number})")]
        else:
            edits += [(site.begin, 2, f"{{ if (!WEIR_MUTANT({site.number})) "),
                      (site.end, -2, " }")]
    for at, _, insert in sorted(edits, key=lambda e: (e[0], e[1]), reverse=True):
        text = text[:at] + insert + text[at:]
    return text
