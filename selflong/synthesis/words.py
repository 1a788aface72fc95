"""English words that carry no content, and those that a question or a task begins with."""

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

TASK_BEGINNINGS = INSTRUCTION_BEGINNINGS | frozenset(
    re.findall(
        r"\w+",
        """
        address advise answer argue arrange assemble brief bring build calculate characterize check cite
        clarify classify collect compile complete conclude conduct consider construct count cover decide
        defend design develop distinguish draft draw ensure estimate examine extract fill find focus
        follow form gather go group help highlight identify imagine include infer inform interpret
        introduce investigate judge justify keep lay lead limit link look make map mention name note
        offer organise organize pick plan please point propose prove put rank read recommend reconstruct
        record relate report research respond review say search select set sort start state study
        suggest support survey tabulate take teach tell test think trace track turn use verify walk
        weigh work your you
        """,
    )
)
