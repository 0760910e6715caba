"""LLVM IR of a claim -> SMT-LIB: are there inputs for which the claim is false, or panics?

Knows what rustc leaves of a pure function of numbers after inlining: integers, tuples of them, branches, loops. Loops are
unrolled; that a loop ends within the bound is part of the question. Anything else is refused by name (`Unknown`).
"""
import re


class Unknown(Exception):
    """Something in the IR that is not understood."""


def functions(text):
    """Name -> (parameters, return type, blocks) of every function defined."""
    found = {}
    for part in re.split(r"^define ", text, flags=re.M)[1:]:
        head, body = part.split("{\n", 1) if "{\n" in part else (part, "")
        body = body.split("\n}", 1)[0]
        match = re.search(r"([^@]*)@(\"[^\"]+\"|[\w.$]+)\((.*)\)", head.split("\n")[0])
        name = match.group(2).strip('"')
        parameters = [p.split()[0] + " " + p.split()[-1] for p in split(match.group(3)) if p.strip()]
        found[name] = (parameters, match.group(1).split()[-1], body)
    return found


def split(text, separator=","):
    """At separators outside brackets."""
    parts, depth, last = [], 0, 0
    for at, char in enumerate(text):
        if char in "([{<":
            depth += 1
        elif char in ")]}>":
            depth -= 1
        elif char == separator and depth == 0:
            parts.append(text[last:at].strip())
            last = at + 1
    parts.append(text[last:].strip())
    return parts


def blocks_of(body):
    """Label -> instructions, the entry first."""
    blocks, label = {}, None
    # A switch goes over several lines.
    body = re.sub(r"\[\n(.*?)\n\s*\]", lambda m: "[" + m.group(1).replace("\n", " ; ") + "]", body, flags=re.S)
    for line in body.split("\n"):
        start = re.match(r"^(\"[^\"]+\"|[\w.$-]+):", line)
        if start:
            label = start.group(1).strip('"')
            blocks[label] = []
            continue
        line = line.split(", !")[0].strip()
        if line and not line.startswith(";"):
            if label is None:
                label = "0"
                blocks[label] = []
            blocks[label].append(line)
    return blocks


FLAGS = {"nuw", "nsw", "exact", "disjoint", "nneg", "samesign", "tail", "musttail", "notail", "noundef", "zeroext"}
BINARY = {
    "add": "bvadd", "sub": "bvsub", "mul": "bvmul", "udiv": "bvudiv", "urem": "bvurem", "sdiv": "bvsdiv",
    "srem": "bvsrem", "shl": "bvshl", "lshr": "bvlshr", "ashr": "bvashr", "and": "bvand", "or": "bvor", "xor": "bvxor",
}
COMPARE = {
    "ult": "bvult", "ule": "bvule", "ugt": "bvugt", "uge": "bvuge",
    "slt": "bvslt", "sle": "bvsle", "sgt": "bvsgt", "sge": "bvsge",
}
NOTHING = ("lifetime", "noalias.scope", "dbg", "donothing")


def width(kind):
    if not re.fullmatch(r"i\d+", kind):
        raise Unknown(f"type {kind}")
    return int(kind[1:])


def sort(kind):
    return "Bool" if kind == "i1" else f"(_ BitVec {width(kind)})"


def number(value, bits):
    return f"(_ bv{value % (1 << bits)} {bits})"


class Formula:
    """One function, executed on symbols."""

    def __init__(self, function, bound):
        self.parameters, self.returns, body = function
        self.blocks = blocks_of(body)
        self.bound = bound
        self.lines, self.fresh = [], 0
        self.wrong, self.open = [], {}
        self.loops()
        self.execute()

    # Control flow ---------------------------------------------------------------------------------------------------

    def targets(self, label):
        return re.findall(r"label %(\"[^\"]+\"|[\w.$-]+)", self.blocks[label][-1].replace('"', ""))

    def loops(self):
        """Loop headers, the blocks of each loop, and an order in which every block follows those it needs."""
        labels = list(self.blocks)
        next_of = {label: self.targets(label) for label in labels}
        order, seen, state = [], set(), [(labels[0], iter(next_of[labels[0]]))]
        seen.add(labels[0])
        while state:
            label, rest = state[-1]
            for target in rest:
                if target not in seen:
                    seen.add(target)
                    state.append((target, iter(next_of[target])))
                    break
            else:
                order.append(label)
                state.pop()
        order.reverse()
        index = {label: at for at, label in enumerate(order)}
        before = {label: [] for label in order}
        for label in order:
            for target in next_of[label]:
                before[target].append(label)
        dominators = {label: set(order) for label in order}
        dominators[order[0]] = {order[0]}
        changed = True
        while changed:
            changed = False
            for label in order[1:]:
                new = set.intersection(*(dominators[p] for p in before[label])) | {label}
                if new != dominators[label]:
                    dominators[label], changed = new, True
        self.members = {}
        for label in order:
            for target in next_of[label]:
                if target in dominators[label]:
                    inside, work = self.members.setdefault(target, {target}), [label]
                    while work:
                        at = work.pop()
                        if at not in inside:
                            inside.add(at)
                            work += before[at]
                elif index[target] <= index[label]:
                    raise Unknown("irreducible loop")
        # Loops of each block, the outermost first.
        self.nest = {
            label: sorted((h for h, m in self.members.items() if label in m), key=lambda h: -len(self.members[h]))
            for label in order
        }
        self.next_of = next_of
        self.order = self.arrange(set(order), None, order)
        self.index = {label: at for at, label in enumerate(self.order)}
        self.live()

    def arrange(self, inside, header, order):
        """The blocks inside a loop (or all), each after those before it, those of each inner loop together."""
        depth = 0 if header is None else self.nest[header].index(header) + 1

        def part(label):
            return self.nest[label][depth] if len(self.nest[label]) > depth else label

        parts = list(dict.fromkeys(part(label) for label in order if label in inside))
        after = {p: set() for p in parts}
        for label in inside:
            for target in self.next_of[label]:
                if target in inside and target != header and part(target) != part(label):
                    after[part(label)].add(part(target))
        entering = {p: 0 for p in parts}
        for targets in after.values():
            for target in targets:
                entering[target] += 1
        ready, arranged = [p for p in parts if entering[p] == 0], []
        while ready:
            at = ready.pop()
            loop = at in self.members and at != header
            arranged += self.arrange(self.members[at], at, order) if loop else [at]
            for target in after[at]:
                entering[target] -= 1
                if entering[target] == 0:
                    ready.append(target)
        if len(arranged) != len(inside):
            raise Unknown("order of blocks")
        return arranged

    def live(self):
        """Names each block needs from before."""
        uses, defines, phis = {}, {}, {}
        for label in self.order:
            used, defined, phi = set(), set(), []
            for line in self.blocks[label]:
                name, text = self.parts(line)
                text = re.sub(r"label %(\"[^\"]+\"|[\w.$-]+)", "", text)
                if text.startswith("phi"):
                    for value, source in re.findall(r"\[ ([^,\]]+), %(\"[^\"]+\"|[\w.$-]+) \]", text):
                        phi.append((source.strip('"'), value.strip()))
                else:
                    used |= set(re.findall(r"%[\w.$-]+", text)) - defined
                if name:
                    defined.add(name)
            uses[label], defines[label], phis[label] = used, defined, phi
        self.live_in = {label: set(uses[label]) for label in self.order}
        changed = True
        while changed:
            changed = False
            for label in reversed(self.order):
                need = set(uses[label])
                for target in self.next_of[label]:
                    need |= self.live_in[target] - defines[label]
                    need |= {v for s, v in phis[target] if s == label and v.startswith("%") and v not in defines[label]}
                if not need <= self.live_in[label]:
                    self.live_in[label] |= need
                    changed = True

    @staticmethod
    def parts(line):
        match = re.match(r"(%[\w.$-]+) = (.*)", line)
        return (match.group(1), match.group(2)) if match else (None, line)

    def execute(self):
        import heapq

        entry = self.order[0]
        names = {}
        self.inputs = []
        for parameter in self.parameters:
            kind, name = parameter.split()
            symbol = "in_" + name[1:]
            self.inputs.append(symbol)
            self.lines.append(f"(declare-const {symbol} {sort(kind)})")
            names[name] = (kind, symbol)
        self.open[(entry, ())] = [("true", None, names)]
        queue = [(self.place(entry, ()), entry, ())]
        done = set()
        while queue:
            _, label, turns = heapq.heappop(queue)
            if (label, turns) in done:
                continue
            done.add((label, turns))
            for target, target_turns in self.run(label, turns):
                if (target, target_turns) in done:
                    raise Unknown("order of blocks")
                heapq.heappush(queue, (self.place(target, target_turns), target, target_turns))

    def place(self, label, turns):
        """All turns of a loop come before what follows it; within a turn blocks go by their order."""
        place = []
        for header, turn in zip(self.nest[label], turns):
            place += [self.index[header], turn]
        return tuple(place + [self.index[label]])

    def define(self, kind, term):
        if len(term) < 24 and "(" not in term or term.startswith("(_ bv"):
            return term
        self.fresh += 1
        name = f"t{self.fresh}"
        self.lines.append(f"(define-fun {name} () {sort(kind)} {term})")
        return name

    def merge(self, label, arrivals):
        """Condition and names at the start of a block, and the values of its phis."""
        condition = arrivals[0][0] if len(arrivals) == 1 else self.define("i1", f"(or {' '.join(a[0] for a in arrivals)})")
        names = {}
        for name in self.live_in[label]:
            values = [a[2].get(name) for a in arrivals]
            # A name that some way here lacks is not used after it: loops leave such.
            if all(v is not None for v in values):
                names[name] = self.choose([a[0] for a in arrivals], values)
        phis = {}
        for line in self.blocks[label]:
            name, text = self.parts(line)
            if not text.startswith("phi"):
                break
            kind = text[4:text.index(" [ ")].strip()
            choices = {s.strip('"'): v.strip() for v, s in re.findall(r"\[ ((?:[^,\[\]]|\{[^}]*\})+), %(\"[^\"]+\"|[\w.$-]+) \]", text)}
            values = [self.value(kind, choices[source], known) for _, source, known in arrivals]
            phis[name] = self.choose([a[0] for a in arrivals], values)
        return condition, {**names, **phis}

    def choose(self, conditions, values):
        result = values[-1]
        for condition, value in zip(reversed(conditions[:-1]), reversed(values[:-1])):
            result = self.either(condition, value, result)
        return result

    def either(self, condition, a, b):
        if a == b:
            return a
        if isinstance(a[1], list):
            return (a[0], [self.either(condition, x, y) for x, y in zip(a[1], b[1])])
        return (a[0], self.define(a[0], f"(ite {condition} {a[1]} {b[1]})"))

    def run(self, label, turns):
        condition, names = self.merge(label, self.open.pop((label, turns)))
        going = []
        for line in self.blocks[label]:
            name, text = self.parts(line)
            if text.startswith("phi"):
                continue
            if name:
                names[name] = self.instruction(text, names, condition)
            elif text.startswith("br label"):
                going.append((self.targets(label)[0], condition))
            elif text.startswith("br i1"):
                test = self.value("i1", text[6:].split(",")[0], names)[1]
                then, other = self.targets(label)
                going.append((then, self.define("i1", f"(and {condition} {test})")))
                going.append((other, self.define("i1", f"(and {condition} (not {test}))")))
            elif text.startswith("switch"):
                going += self.switch(text, names, condition)
            elif text.startswith("ret"):
                kind, value = text.split()[1:3]
                self.wrong.append(f"(and {condition} (not {self.value(kind, value, names)[1]}))")
            elif text.startswith("unreachable"):
                self.wrong.append(condition)
            elif "call" in text:
                self.instruction(text, names, condition)
            else:
                raise Unknown(text)
        new = []
        for target, when in going:
            there = self.enter(label, turns, target, when)
            if there is None:
                continue
            first = there not in self.open
            # A switch may reach one block in several ways: they are one arrival each.
            self.open.setdefault(there, []).append((when, label, names))
            if first:
                new.append(there)
        return new

    def enter(self, label, turns, target, when):
        """The instance of the target, or nothing when a loop would turn too often: then that is wrong."""
        common = [h for h in self.nest[target] if h in self.nest[label]]
        turns = list(turns[: len(common)])
        if target in self.members and target in common:
            turns[-1] += 1
            if turns[-1] > self.bound:
                self.wrong.append(when)
                return None
        elif len(self.nest[target]) > len(common):
            turns.append(0)
        return target, tuple(turns)

    def switch(self, text, names, condition):
        match = re.match(r"switch (i\d+) (\S+), label %(\"[^\"]+\"|[\w.$-]+) \[(.*)\]", text)
        kind, value, default, rest = match.groups()
        term = self.value(kind, value, names)[1]
        going, others = {}, []
        for case, target in re.findall(r"i\d+ (-?\d+), label %(\"[^\"]+\"|[\w.$-]+)", rest):
            equal = f"(= {term} {number(int(case), width(kind))})"
            going.setdefault(target.strip('"'), []).append(equal)
            others.append(equal)
        default = default.strip('"')
        going.setdefault(default, []).append(f"(not (or {' '.join(others)}))")
        return [(t, self.define("i1", f"(and {condition} (or {' '.join(tests)}))")) for t, tests in going.items()]

    # Values ---------------------------------------------------------------------------------------------------------

    def value(self, kind, text, names):
        text = text.strip()
        if text.startswith("%"):
            if text not in names:
                raise Unknown(f"value {text}")
            return names[text]
        if kind.startswith("{"):
            fields = split(kind.strip()[1:-1])
            if text in ("poison", "undef"):
                return (kind, [self.value(f, "poison", names) for f in fields])
            given = split(text.strip()[1:-1])
            return (kind, [self.value(f, g.split(None, 1)[1], names) for f, g in zip(fields, given)])
        if text in ("poison", "undef"):
            # Nobody may look at it: any value will do, so all are tried.
            self.fresh += 1
            self.lines.append(f"(declare-const any{self.fresh} {sort(kind)})")
            return (kind, f"any{self.fresh}")
        if kind == "i1":
            return (kind, {"true": "true", "false": "false", "1": "true", "0": "false", "-1": "true"}[text])
        return (kind, number(int(text), width(kind)))

    def instruction(self, text, names, condition):
        words = [w for w in text.split() if w not in FLAGS]
        op = words[0]
        if op in BINARY:
            kind, (a, b) = words[1], split(" ".join(words[2:]))
            a, b = self.value(kind, a, names)[1], self.value(kind, b, names)[1]
            if kind == "i1":
                op = {"and": "and", "or": "or", "xor": "xor", "add": "xor", "sub": "xor", "mul": "and"}[op]
                return (kind, self.define(kind, f"({op} {a} {b})"))
            return (kind, self.define(kind, f"({BINARY[op]} {a} {b})"))
        if op == "icmp":
            test, kind = words[1:3]
            a, b = (self.value(kind, v, names)[1] for v in split(" ".join(words[3:])))
            return ("i1", self.define("i1", self.compare(test, kind, a, b)))
        if op == "select":
            (_, c), (kind, a), (_, b) = (self.typed(p) for p in split(" ".join(words[1:])))
            test = self.value("i1", c, names)[1]
            return self.either(test, self.value(kind, a, names), self.value(kind, b, names))
        if op in ("zext", "sext", "trunc"):
            kind, value, to = words[1], words[2], words[4]
            return (to, self.define(to, self.cast(op, kind, self.value(kind, value, names)[1], to)))
        if op == "freeze":
            return self.value(words[1], words[2], names)
        if op in ("extractvalue", "insertvalue"):
            pieces = split(" ".join(words[1:]))
            kind, whole = self.typed(pieces[0])
            whole = self.value(kind, whole, names)
            if op == "extractvalue":
                return whole[1][int(pieces[1])]
            fields = list(whole[1])
            fields[int(pieces[2])] = self.value(*self.typed(pieces[1]), names)
            return (kind, fields)
        if op == "call":
            return self.call(text, names, condition)
        raise Unknown(text)

    @staticmethod
    def typed(text):
        text = text.strip()
        if text.startswith("{"):
            end = text.index("}") + 1
            return text[:end], text[end:].strip()
        words = [w for w in text.split() if w not in FLAGS and not w.startswith("range(")]
        return words[0], words[-1]

    @staticmethod
    def compare(test, kind, a, b):
        if test == "eq":
            return f"(= {a} {b})"
        if test == "ne":
            return f"(not (= {a} {b}))"
        if kind == "i1":
            return {"ult": f"(and (not {a}) {b})", "ugt": f"(and {a} (not {b}))", "ule": f"(or (not {a}) {b})",
                    "uge": f"(or {a} (not {b}))"}[test]
        return f"({COMPARE[test]} {a} {b})"

    @staticmethod
    def cast(op, kind, value, to):
        have, want = width(kind), width(to)
        if op == "trunc":
            if want == 1:
                return f"(= ((_ extract 0 0) {value}) #b1)"
            return f"((_ extract {want - 1} 0) {value})"
        if have == 1:
            return f"(ite {value} {number(1 if op == 'zext' else -1, want)} {number(0, want)})"
        return f"((_ {'zero' if op == 'zext' else 'sign'}_extend {want - have}) {value})"

    def call(self, text, names, condition):
        match = re.search(r"@(\"[^\"]+\"|[\w.$]+)\((.*)\)", text)
        name = match.group(1).strip('"')
        if not name.startswith("llvm."):
            if "panic" in name or "fail" in name or "slice_index" in name:
                return None  # `unreachable` follows.
            raise Unknown(f"call of {name}")
        if any(n in name for n in NOTHING):
            return None
        name = name[5:]
        given = [self.value(*self.typed(a), names) for a in split(match.group(2).split(") [")[0])]
        if name == "assume":
            self.wrong.append(f"(and {condition} (not {given[0][1]}))")
            return None
        kind, a = given[0]
        bits = width(kind)
        b = given[1][1] if len(given) > 1 else None
        zero = number(0, bits)
        define = self.define
        if name.startswith(("umin", "umax", "smin", "smax")):
            less = "bvult" if name[0] == "u" else "bvslt"
            x, y = (a, b) if name[1:4] == "min" else (b, a)
            return (kind, define(kind, f"(ite ({less} {a} {b}) {x} {y})"))
        if name.startswith("abs"):
            return (kind, define(kind, f"(ite (bvslt {a} {zero}) (bvneg {a}) {a})"))
        if name.startswith("usub.sat"):
            return (kind, define(kind, f"(ite (bvult {a} {b}) {zero} (bvsub {a} {b}))"))
        if name.startswith("uadd.sat"):
            total = define(kind, f"(bvadd {a} {b})")
            return (kind, define(kind, f"(ite (bvult {total} {a}) {number(-1, bits)} {total})"))
        if ".with.overflow" in name:
            return self.overflow(name[:4], kind, bits, a, b)
        if name.startswith(("ctlz", "cttz", "ctpop")):
            if bits & (bits - 1):
                raise Unknown(text)
            return (kind, self.count(name, kind, bits, a))
        if name.startswith("bswap"):
            parts = " ".join(f"((_ extract {at + 7} {at}) {a})" for at in range(0, bits, 8))
            return (kind, define(kind, f"(concat {parts})"))
        if name.startswith(("fshl", "fshr")):
            c = define(kind, f"(bvurem {given[2][1]} {number(bits, bits)})")
            rest = define(kind, f"(bvsub {number(bits, bits)} {c})")
            left, right = (c, rest) if name[3] == "l" else (rest, c)
            return (kind, define(kind, f"(bvor (bvshl {a} {left}) (bvlshr {b} {right}))"))
        raise Unknown(f"intrinsic {name}")

    def overflow(self, op, kind, bits, a, b):
        extend, more = ("zero_extend", 1) if op[0] == "u" else ("sign_extend", 1)
        if op[1:] == "mul":
            more = bits
        operation = {"add": "bvadd", "sub": "bvsub", "mul": "bvmul"}[op[1:]]
        result = self.define(kind, f"({operation} {a} {b})")
        wide = f"({operation} ((_ {extend} {more}) {a}) ((_ {extend} {more}) {b}))"
        over = self.define("i1", f"(not (= {wide} ((_ {extend} {more}) {result})))")
        return ("{ " + kind + ", i1 }", [(kind, result), ("i1", over)])

    def count(self, name, kind, bits, a):
        if name.startswith("ctpop"):
            terms = " ".join(f"((_ zero_extend {bits - 1}) ((_ extract {i} {i}) {a}))" for i in range(bits))
            return self.define(kind, f"(bvadd {terms})")
        # By halves: how many zeroes, then the rest.
        step, total, rest = 1 << (bits - 1).bit_length() - 1, number(0, bits), a
        while step:
            if name.startswith("ctlz"):
                half = f"(= ((_ extract {bits - 1} {bits - step}) {rest}) (_ bv0 {step}))"
                shift = "bvshl"
            else:
                half = f"(= ((_ extract {step - 1} 0) {rest}) (_ bv0 {step}))"
                shift = "bvlshr"
            test = self.define("i1", half)
            total = self.define(kind, f"(ite {test} (bvadd {total} {number(step, bits)}) {total})")
            rest = self.define(kind, f"(ite {test} ({shift} {rest} {number(step, bits)}) {rest})")
            step //= 2
        return self.define(kind, f"(ite (= {a} {number(0, bits)}) {number(bits, bits)} {total})")

    # Text -----------------------------------------------------------------------------------------------------------

    def text(self):
        wrong = " ".join(self.wrong)
        return "\n".join(["(set-logic QF_BV)", *self.lines, f"(assert (or false {wrong}))", "(check-sat)", ""])
