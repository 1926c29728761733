"""The table of cases. A case is a function of one side, in a module of `cases`, that answers what it observed."""

CASES = []


class Case:
    def __init__(self, area, observe, differs):
        self.area, self.observe, self.differs = area, observe, differs
        self.id = f"{area}::{observe.__name__}"
        self.about = (observe.__doc__ or "").strip()


def case(**options):
    """Registers the function below it. `differs` maps fields to deliberate differences (`observation.D`)."""

    def register(observe):
        CASES.append(Case(observe.__module__.rsplit(".", 1)[-1], observe, options.get("differs", {})))
        return observe

    return register
