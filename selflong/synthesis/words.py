"""English words that carry no content, and those that an instruction begins with."""

import re

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about above across after again against all almost along already also although always am
        among an and another any are around as at away back be became because become been before
        began being below between both but by came can cannot could did do does doing done down
        during each either else enough even ever every few first for from further gave get give
        given goes going had has have having he hence her here hers herself him himself his how
        however i if in indeed instead into is it its itself just keep kept largely last least less
        like made mainly make makes making many may maybe me might mine more moreover most mostly
        much must my myself near need neither never nevertheless next no nor not nothing now of off
        often on once one only onto or other others otherwise ought our ours ourselves out over own
        part per perhaps quite rather really same seem seemed seems several shall she should simply
        since so some something sometimes somewhere still such take taken than that the their theirs
        them themselves then thence there therefore these they thing things this those though
        through throughout thus to together too toward towards under unless until up upon us use
        used very via was way we well went were what whatever when where whereas wherever whether
        which while who whole whom whose why will with within without would yes yet you your yours
        yourself yourselves
        """,
    )
)

INSTRUCTION_BEGINNINGS = frozenset(
    re.findall(
        r"\w+",
        """
        analyse analyze assess compare contrast create compose define describe detail determine
        discuss evaluate examine explain explore give identify illustrate list outline prepare
        present produce provide relate show summarise summarize trace write how what which why when
        where who whose in to for from is are was were do does did can could should would has have
        using based
        """,
    )
)

FAMILY_FORMS = {
    "comparison": re.compile(
        r"\b(?:differ\w*|compar\w*|contrast\w*|distinguish\w*|than|versus|common|similar\w*|alike|unlike)\b",
        re.IGNORECASE,
    ),
    "evidence": re.compile(r"\b(?:why|evidence|reasons?|explain\w*|caus\w+)\b", re.IGNORECASE),
    "multipart": re.compile(
        r"\b(?:what|how|who|when|where|which|why)\b.*\b(?:what|how|who|when|where|which|why)\b",
        re.IGNORECASE | re.DOTALL,
    ),
    "timeline": re.compile(
        r"\b(?:over time|over the|since|past|histor\w*|develop\w*|chang\w*|evol\w*|gr[eo]w\w*|bec[ao]me\w*|"
        r"spread|led|increas\w*|declin\w*|rose|fell|between \d+)\b",
        re.IGNORECASE,
    ),
}
"""Family of instructions -> what one of it says; an overview has no words of its own."""
