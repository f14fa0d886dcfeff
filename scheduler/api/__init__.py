"""The capacity API: what people, the command line and dashboards ask. Its OpenAPI document is at
/openapi.json.

build          the application
cluster        routes about the cluster as it is: nodes, pods, snapshot
explanations   routes about why: explain, pending, remedy
remedy_job     what the planner is asked for a remedy
overview       routes of the web page: the overview, its changes, Repacks
planning       routes of the planner: plan, capacity, repack, simulate
extensions     routes that one composition root adds, such as the demo's
web_pages      the web page itself, and pages about the API
context        what routes work with
problems       errors as answers
models, documentation, examples.json    what the OpenAPI document says; the planning types say their own part
"""

from scheduler.api.build import build
from scheduler.api.context import Context
from scheduler.api.extensions import DEMO, ApiExtension

__all__ = ["DEMO", "ApiExtension", "Context", "build"]
