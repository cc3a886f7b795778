"""How the console's templates say a state, a duration, a moment and a piece of JSON."""

import json

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

register = template.Library()

# Words of Django's own pages that its Chinese lacks or says less well: named here so that `makemessages` keeps ours.
DJANGO_S_WORDS = (
    gettext_noop("Add %s"),
    gettext_noop("Change %s"),
    gettext_noop("View %s"),
    gettext_noop(" By %(filter_title)s "),
    gettext_noop("After you’ve created a user, you’ll be able to edit more user options."),
)


@register.simple_tag
def badge(status: str, label: str = ""):
    """A state as a coloured word; the colour is never the only sign."""
    return format_html('<span class="badge badge-{}">{}</span>', status, label or status)


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds in the unit that a person would use: 8 ms, 1.4 s, 2 min 5 s, 3 h 10 min."""
    if seconds is None:
        return "–"
    if seconds < 0.001:
        return _("under 1 ms") if seconds else _("%(number)s ms") % {"number": 0}
    if seconds < 1:
        return _("%(number)s ms") % {"number": round(seconds * 1000)}
    if seconds < 60:
        return _("%(number)s s") % {"number": f"{seconds:.1f}".removesuffix(".0")}
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60 and not rest:
        return _("%(number)s min") % {"number": minutes}
    if minutes < 60:
        return _("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": rest}
    return _("%(hours)s h %(minutes)s min") % {"hours": minutes // 60, "minutes": minutes % 60}


@register.filter
def moment(value):
    """A point in time: the server's words, which the page turns into the reader's own time zone."""
    if value is None:
        return "–"
    local = timezone.localtime(value)
    return format_html(
        '<time class="moment" datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        f"{value:%Y-%m-%d %H:%M:%S} UTC",
        f"{local:%Y-%m-%d %H:%M:%S}",
    )


@register.filter
def ago(value) -> str:
    """How long ago, in one unit."""
    if value is None:
        return "–"
    seconds = max(int((timezone.now() - value).total_seconds()), 0)
    if seconds < 60:
        return _("just now") if seconds < 5 else _("%(number)s s ago") % {"number": seconds}
    for size, say in (
        (86400, lambda n: ngettext("%(number)s day ago", "%(number)s days ago", n)),
        (3600, lambda n: ngettext("%(number)s hour ago", "%(number)s hours ago", n)),
        (60, lambda n: ngettext("%(number)s minute ago", "%(number)s minutes ago", n)),
    ):
        if seconds >= size:
            return say(seconds // size) % {"number": seconds // size}
    raise AssertionError("every number of seconds has a unit")


@register.filter
def pretty_json(value) -> str:
    """JSON for reading: indented, with Chinese as itself."""
    return json.dumps(value, ensure_ascii=False, indent=2)


@register.filter
def last_name(dotted: str) -> str:
    """The class's own name out of its dotted path."""
    return dotted.rpartition(".")[2]


@register.filter
def kept_for(days: int) -> str:
    """For how long something is kept; 0 is for ever."""
    return ngettext("%(number)s day", "%(number)s days", days) % {"number": days} if days else _("for ever")


@register.filter
def figure(number: int, is_estimate: bool = False) -> str:
    """A number with its thousands apart; one that is only estimated has a mark."""
    return f"{'~' if is_estimate else ''}{number:,}"


@register.filter
def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}".removesuffix(".0") + " %"
