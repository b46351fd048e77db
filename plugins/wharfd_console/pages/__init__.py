"""The console's own pages, declared like those of any other plugin."""

from __future__ import annotations

from wharfd import ConsolePage

from . import audit, database, doctor, overview, plugins, schedules, work

PAGES = [
    ConsolePage(path="overview", title="Overview", render=overview.render, icon="overview", order=0),
    ConsolePage(path="plugins", title="Plugins", render=plugins.render, icon="plugins", order=10),
    ConsolePage(path="work", title="Work queues", render=work.render, icon="work", order=20),
    ConsolePage(path="schedules", title="Schedules", render=schedules.render, icon="schedules", order=30),
    ConsolePage(path="database", title="Database", render=database.render, icon="database", order=40),
    ConsolePage(path="audit", title="Audit", render=audit.render, icon="audit", order=50),
    ConsolePage(path="doctor", title="Doctor", render=doctor.render, icon="doctor", order=60),
]
