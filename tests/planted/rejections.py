"""Finds the places where sources reject something, and how each could let it pass.

Three forms, with what becomes of them when the bug is on:

* `if CONDITION { return Err(…); }` and the arm `PATTERN if CONDITION => Err(…)`: the condition never holds;
* `Err(…)` elsewhere: a value that is fine, where the type of the function tells one;
* `number.ok_or(…)?` and the like: the number is 0.

What has none of these (a `let … else` of an object, say) is for the list.
"""
import re

# What a function can go on with instead of an error.
FINE = {
    "Check": "Ok(())",
    "Check<()>": "Ok(())",
    "Check<Next>": "Ok(Next::To(self.at.next()))",
    "Check<Register>": "Ok(Register::unknown())",
    "Check<Option<Register>>": "Ok(Some(Register::unknown()))",
    "Check<bool>": "Ok(false)",
    "Decoded<Insn>": "Ok(Insn::Exit)",
    "Result<(), Defect>": "Ok(())",
    "Result<(), DecodeError>": "Ok(())",
    "Result<(), Problem>": "Ok(())",
    "Result<(), Reason>": "Ok(())",
    "Result<(), &'static str>": "Ok(())",
    "Result<(), LinkError>": "Ok(())",
}
# Not a rejection: what we lack, not what the program must not do.
LACKING = ("Unsupported", "Problem::Unknown", "unsupported()")


def blank(text):
    """The text with comments and literals blanked out, place by place."""
    pattern = re.compile(r"""//[^\n]*|"(?:\\.|[^"\\])*"|b?'(?:\\.|[^'\\])'""", re.S)
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


def closing(text, at):
    """Where the bracket that opens at `at` is closed."""
    depth = 0
    for place in range(at, len(text)):
        if text[place] in "([{":
            depth += 1
        elif text[place] in ")]}":
            depth -= 1
            if depth == 0:
                return place
    return len(text) - 1


def opening(text, at):
    """The brace of the block around `at`."""
    depth = 0
    for place in range(at - 1, -1, -1):
        if text[place] in ")]}":
            depth += 1
        elif text[place] in "([{":
            if depth == 0:
                return place
            depth -= 1
    return -1


def returned(text, at):
    """The type of the function or closure around `at`, and whether it can call `self` and is not const."""
    found = None
    for found in re.finditer(r"\b(const )?fn \w+|\|[^|\n]*\| -> ([\w<>(), ]+) \{", text[:at]):
        pass
    if found is None:
        return None, True
    if found.group(2):
        return found.group(2).strip(), False
    head = text[found.start() : text.find("{", found.end())]
    arrow = re.search(r"->\s*([^{]+?)\s*(?:where\b.*)?$", head, re.S)
    return (re.sub(r"\s+", " ", arrow.group(1)) if arrow else None), bool(found.group(1))


def condition_before(text, brace):
    """Start and end of the condition of the `if` whose block opens at `brace`; None if it is no `if`."""
    depth, place = 0, brace - 1
    while place >= 0:
        letter = text[place]
        if letter in ")]}":
            if letter == "}" and depth == 0:
                return None
            depth += 1
        elif letter in "([{":
            if depth == 0:
                return None
            depth -= 1
        elif letter == ";" and depth == 0:
            return None
        elif depth == 0 and text.startswith("if ", place) and not (text[place - 1].isalnum() or text[place - 1] == "_"):
            return place + 3, brace - 1
        elif depth == 0 and text.startswith("=>", place):
            return None
        place -= 1
    return None


def places(source):
    """Yields (start, end, kind, value, line) for each rejection: kind `never` for a condition, `value` for an `Err`."""
    text = blank(re.split(r"#\[cfg\(test\)\]\s*mod \w+ \{", source)[0])
    taken = set()
    for found in re.finditer(r"\bErr\(", text):
        start, end = found.start(), closing(text, found.end() - 1) + 1
        inside = source[start:end]
        after = text[end : end + 12].lstrip()
        # A pattern, not a value.
        if re.match(r"=>|=[^=]|\)? *if |\|", after) or any(word in inside for word in LACKING):
            continue
        if "Reason" not in inside and re.fullmatch(r"Err\(\(?\w+\)?\)", inside):
            continue  # Passes on what was found elsewhere.
        kind, constant = returned(text, start)
        if constant:
            continue
        line = source.count("\n", 0, start) + 1
        before = text[:start].rstrip()
        is_return = before.endswith("return")
        guard = guard_before(text, start, is_return)
        if guard:
            if guard not in taken:
                taken.add(guard)
                yield *guard, "never", None, line
            continue
        brace = opening(text, start)
        condition = condition_before(text, brace) if is_return and text[brace] == "{" else None
        # Only where the block does nothing else.
        if condition and text[closing(text, brace) + 1 :].lstrip()[:4] != "else":
            if condition not in taken:
                taken.add(condition)
                yield *condition, "never", None, line
        elif kind in FINE and (is_return or kind != "Decoded<Insn>"):
            yield start, end, "value", FINE[kind], line
        else:
            yield start, end, "none", kind, line
    # Fields that must be zero.
    for found in re.finditer(r"self\.zero\([^)]*\)\?(?=;)", text):
        yield *found.span(), "value", "()", source.count("\n", 0, found.start()) + 1
    for found in re.finditer(r"\.ok_or(_else)?\(", text):
        inside = source[found.start() : closing(text, found.end() - 1) + 1]
        start = chain(text, found.start())
        # Only numbers have a value that will do.
        number = re.search(r"constant_offset\(\)|constant\(\)|try_from\(|\b(off|start|size|id)\Z", text[start : found.start()])
        if number and not any(word in inside for word in LACKING) and not returned(text, start)[1]:
            yield start, found.start(), "default", None, source.count("\n", 0, start) + 1


def chain(text, end):
    """Where the chain of calls that ends there starts."""
    place = end
    while place > 0:
        letter = text[place - 1]
        if letter in ")]":
            place = opening(text, place - 1)
        elif letter.isalnum() or letter in "_.:&?":
            place -= 1
        elif letter.isspace() and text[place:].lstrip().startswith("."):
            place -= 1
        else:
            return place
    return place


def guard_before(text, start, is_return):
    """The guard of the arm that this `Err` is the value of."""
    before = text[:start].rstrip()
    if is_return:
        before = before[: -len("return")].rstrip()
    if before.endswith("{"):
        before = before[:-1].rstrip()
    if not before.endswith("=>"):
        return None
    end = len(before) - 2
    depth = 0
    for place in range(end - 1, -1, -1):
        if text[place] in ")]}":
            if text[place] == "}" and depth == 0 and "\n" in text[place:end].split("=>")[0]:
                return None
            depth += 1
        elif text[place] in "([{":
            if depth == 0:
                return None
            depth -= 1
        elif depth == 0 and text.startswith("=>", place) or depth == 0 and text[place] in ";,":
            return None
        elif depth == 0 and text.startswith(" if ", place):
            return place + 4, len(text[:end].rstrip())
    return None
