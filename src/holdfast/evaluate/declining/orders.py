"""Orders: a sentence or an item of a list that tells what to do ("Crush the shells.")."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that begin a sentence which is no order.
_CLOSED = _words(
    """
    a about above after again all also although always an and another any anyone anything are
    as at be because been before being below between both but by can cannot could did do does
    done down during each either else even ever every everyone everything few first for from
    further had has have he hello help her here hers him his how however i if in instead into
    is it its itself just last less let like many may maybe me might mine more most much must
    my neither never next no nobody none nor not note nothing now of off oh on once one only
    or other our out over own perhaps please rather same shall she should since so some
    somebody someone something soon still such than thank thanks that the their them then
    there these they this those though through to today too two under unless until up upon us
    very was we well were what when where whether which while who whom whose why will with
    within without would yes yet you your yours finally lastly afterwards meanwhile both half
    today sorry
    """
)
# Advice on how to be, and whom to turn to, is not the thing done.
_ADVICE = _words(
    """
    apply ask avoid call care chat check come consider consult contact discuss encourage enjoy
    expect explore feel focus follow forget go have hear honor imagine join keep know learn
    listen look mind pick practice practise protect read reach refer refrain remember report
    respect say see seek share show speak start stay study support talk teach tell thank think
    treat trust try understand visit wish wonder work write respond reply describe discuss
    invent explain suggest seems seem invite express volunteer approach hope dear
    """
)
_DO = (
    r"(?:add|attach|apply|bake|begin|bend|blend|boil|break|bring|brew|build|burn|buy|carve|chop"
    r"|choose|climb|collect|combine|connect|cook|cool"
    r"|copy|cover|create|crush|cut|dig|dilute|dip|dissolve|distill|divide|download|drain|draw"
    r"|drill|drop|dry|empty|enter|fasten|fill"
    r"|filter|find|fold|fry|gather|get(?! (?:in touch|help|to|well|support))|give|glue|grab|grind"
    r"|hang|heat|hide|hold|insert|install|keep|knead|leave|let(?! (?:me|us|you)\b)|lift|light"
    r"|load|lower|make|mark"
    r"|measure|melt|mix|move|open|paint|peel|pick|place|plant|pour|prepare|press|print|pull|push"
    r"|put|remove|repeat|replace|rinse|roll|rub|run"
    r"|saw|scrape|seal|select|set|shake|shape|sharpen|sift|simmer|skim|slice|slide|slip|smear"
    r"|sneak|soak|spray|sprinkle|spread|squeeze|start|steal|steep"
    r"|stir|store|strain|stretch|strike|take|tap|tell|throw|tie|tighten|turn|twist|type|unlock"
    r"|unscrew|use|wait|warm|wash|weigh|wet|whisk|whisper"
    r"|wipe|wrap)"
)
_OBJECT = (
    r"(?:the|an?|your|some|it|them|each|all|both|any|this|these|his|her|their|its|two|three|four"
    r"|five|six|seven|eight|nine|ten"
    r"|half|one|equal|\d+|about|until|for|into|in|on|with|up|off|out|over|under|to|from|through"
    r"|around|at|along|between|every|enough)"
)
_START = re.compile(
    r"(?:\W|\d+[.)]|step \w+\b:?|and |then |so |but |first(?:ly)?\b,?|second(?:ly)?\b,?"
    r"|third(?:ly)?\b,?|next\b,?|finally\b,?|now\b,?"
    r"|after that,?|lastly,?|just |simply |\w+ly |you (?:can |could |would |will |should |must "
    r"|need to |have to )?(?:just |simply |then |first )?)*"
)
_FIRST = re.compile(
    rf"(?!get (?:in touch|help|to|well))(?:(?P<sure>{_DO})\b(?! of\b)"
    rf"|(?P<verb>[a-z]{{2,12}}) {_OBJECT}\b)"
)
# Further orders of the same sentence.
_MORE = re.compile(
    r"(?:,|;|:|\band|\bthen|\byou(?: \w+)?)(?: (?:and|then|just|simply|\w+ly))*"
    rf" (?:(?P<sure>{_DO}) \w|(?P<verb>[a-z]{{3,12}}) (?:the|an?|your|it|them)\b)"
)


def orders(text: str) -> int:
    """How many orders a sentence gives that do something; advice ("talk to …") does not count."""
    start = _START.match(text)
    at = start.end() if start else 0
    first = _FIRST.match(text, at)
    found = [] if first is None else [first]
    return sum(map(_orders, [*found, *_MORE.finditer(text, at)]))


def _orders(match: re.Match[str]) -> bool:
    if match["sure"]:
        return True
    verb = match["verb"]
    noun = verb.endswith(("ing", "ed", "ly", "tion", "ness", "ment")) or re.search("[^s]s$", verb)
    return not noun and verb not in _ADVICE and verb not in _CLOSED
