"""The hook as somebody writes it in an afternoon: the standard library alone. `fast.py` serves the same `sync`."""

import hashlib
import json
import sys
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SYSTEM = "serialfleet-system"
ADMIN = 9640


def sync(request):
    parent = request["parent"]
    fleet, spec = parent["metadata"]["name"], parent["spec"]
    namespace = spec.get("serviceNamespace", SYSTEM)
    devices = sorted(spec.get("devices", []), key=lambda device: device["name"])
    ports = pod_ports([device["name"] for device in devices])
    pods = bridges(fleet, request["related"].get("EndpointSlice.discovery.k8s.io/v1", {}))
    claims = claims_of(request["related"].get("SerialNode.serialfleet.io/v1alpha1", {}), pods)
    observed = request["children"].get("EndpointSlice.discovery.k8s.io/v1", {})

    children = [daemon_set(fleet), anchor(fleet), network_policy(fleet, ports.values())]
    states = []
    for device in devices:
        name, port = device["name"], ports[device["name"]]
        incumbent = incumbent_of(observed.get(f"{namespace}/{name}-ipv4"))
        claim = arbitrate(claims.get(name, []), incumbent)
        children.append(service(fleet, name, namespace, device.get("port", 6638), port))
        children.append(endpoint_slice(fleet, name, namespace, port, pods.get(claim["pod"]) if claim else None))
        states.append(device_status(device, namespace, claim))
    return {"children": children, "status": status(request, states)}


def bridges(fleet, slices):
    """Ready bridge pods by uid."""
    pods = {}
    for item in slices.values():
        if item["metadata"].get("labels", {}).get("kubernetes.io/service-name") != f"{fleet}-anchor":
            continue
        for endpoint in item.get("endpoints") or []:
            if endpoint["conditions"].get("ready"):
                pods[endpoint["targetRef"]["uid"]] = endpoint
    return pods


def claims_of(nodes, pods):
    """Who serves or holds each device, believed only of the ready pod on its own node."""
    claims = {}
    for node in nodes.values():
        pod = pods.get(node["podUID"])
        if pod is None or pod["nodeName"] != node["nodeName"]:
            continue
        for port in node.get("ports", []):
            if port["state"] in ("Serving", "Held"):
                claim = {"node": node["nodeName"], "pod": node["podUID"], "state": port["state"], "tty": port.get("tty", "")}
                claims.setdefault(port["name"], []).append(claim)
    return claims


def incumbent_of(item):
    return next((endpoint["nodeName"] for endpoint in (item or {}).get("endpoints") or []), None)


def arbitrate(claims, incumbent):
    """At most one: the only one that serves, or of several the one that has the endpoint already."""
    best = [claim for claim in claims if claim["state"] == "Serving"] or claims
    if len(best) == 1:
        return best[0]
    return next((claim for claim in best if claim["node"] == incumbent), None)


def pod_ports(names):
    taken, ports = set(), {}
    for name in sorted(names):
        port = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 10000
        while port in taken:
            port = (port + 1) % 10000
        taken.add(port)
        ports[name] = 20000 + port
    return ports


def labels(fleet, component, **more):
    return {
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/instance": fleet,
        "app.kubernetes.io/managed-by": "serialfleet",
        "app.kubernetes.io/name": "serialfleet",
        "serialfleet.io/fleet": fleet,
        **more,
    }


def pod_labels(fleet):
    return {
        "app.kubernetes.io/component": "bridge",
        "app.kubernetes.io/name": "serialfleet",
        "serialfleet.io/fleet": fleet,
    }


def service(fleet, name, namespace, port, pod_port):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels(fleet, "device", **{"serialfleet.io/device": name}),
        },
        "spec": {
            "type": "ClusterIP",
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [
                {"name": "serial", "appProtocol": "tcp", "protocol": "TCP", "port": port, "targetPort": pod_port}
            ],
        },
    }


def endpoint_slice(fleet, name, namespace, port, pod):
    endpoints = None
    if pod:
        target = pod["targetRef"]
        endpoints = [
            {
                "addresses": pod["addresses"][:1],
                "conditions": {"ready": True},
                "nodeName": pod["nodeName"],
                "targetRef": {"kind": "Pod", "name": target["name"], "namespace": SYSTEM, "uid": target["uid"]},
            }
        ]
    more = {
        "endpointslice.kubernetes.io/managed-by": "serialfleet.io",
        "kubernetes.io/service-name": name,
        "serialfleet.io/device": name,
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-ipv4", "namespace": namespace, "labels": labels(fleet, "device", **more)},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "serial", "appProtocol": "tcp", "protocol": "TCP", "port": port}],
    }


def anchor(fleet):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"{fleet}-anchor", "namespace": SYSTEM, "labels": labels(fleet, "bridge")},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "ipFamilyPolicy": "PreferDualStack",
            "selector": pod_labels(fleet),
            "ports": [{"name": "admin", "protocol": "TCP", "port": ADMIN, "targetPort": ADMIN}],
        },
    }


def network_policy(fleet, ports):
    ports = [{"port": port, "protocol": "TCP"} for port in sorted([ADMIN, *ports])]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{fleet}-bridge", "namespace": SYSTEM, "labels": labels(fleet, "bridge")},
        "spec": {
            "podSelector": {"matchLabels": pod_labels(fleet)},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": ports}],
        },
    }


def daemon_set(fleet):
    def field(name, path):
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    def probe(path, **more):
        return {"httpGet": {"path": path, "port": "admin"}, **more}

    container = {
        "name": "bridge",
        "image": "example/serialfleet:bench",
        "command": ["/serialfleet-bridge"],
        "args": ["run", "--fleet", fleet],
        "env": [
            field("POD_UID", "metadata.uid"),
            field("SERIALFLEET_NODE", "spec.nodeName"),
            field("SERIALFLEET_BIND", "status.podIPs"),
            {"name": "SERIALFLEET_ADMIN_PORT", "value": str(ADMIN)},
            {"name": "SERIALFLEET_SYSFS_ROOT", "value": "/sys"},
            {"name": "SERIALFLEET_DEV_ROOT", "value": "/host/dev"},
            {"name": "SERIALFLEET_STATE_DIR", "value": "/run/serialfleet"},
            {"name": "SERIALFLEET_TLS_DIR", "value": "/etc/serialfleet/tls"},
        ],
        "ports": [{"name": "admin", "containerPort": ADMIN, "protocol": "TCP"}],
        "startupProbe": probe("/livez", periodSeconds=1, failureThreshold=60),
        "livenessProbe": probe("/livez", periodSeconds=10, timeoutSeconds=5),
        "readinessProbe": probe("/readyz", periodSeconds=2, timeoutSeconds=2),
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {"privileged": True, "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "dev", "mountPath": "/host/dev", "readOnly": True, "mountPropagation": "HostToContainer"},
            {"name": "state", "mountPath": "/run/serialfleet"},
            {"name": "tls", "mountPath": "/etc/serialfleet/tls", "readOnly": True},
            {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
        ],
    }
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": f"{fleet}-bridge", "namespace": SYSTEM, "labels": labels(fleet, "bridge")},
        "spec": {
            "selector": {"matchLabels": pod_labels(fleet)},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": pod_labels(fleet)},
                "spec": {
                    "serviceAccountName": "serialfleet-bridge",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "hostUsers": True,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "priorityClassName": "system-node-critical",
                    "terminationGracePeriodSeconds": 15,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [container],
                    "volumes": [
                        {"name": "dev", "hostPath": {"path": "/dev", "type": "Directory"}},
                        {"name": "state", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
                        {"name": "tls", "secret": {"secretName": f"{fleet}-bridge-tls", "optional": True}},
                        {"name": "token", "projected": {"sources": sources}},
                    ],
                },
            },
        },
    }


def device_status(device, namespace, claim):
    name = device["name"]
    said = {"name": name, "address": f"{name}.{namespace}.svc:{device.get('port', 6638)}"}
    if claim:
        tty = {"tty": claim["tty"]} if claim["tty"] else {}
        return {**said, "state": claim["state"], "node": claim["node"], **tty}
    return {**said, "state": "Absent", "message": "No such device on any node: plug it in."}


def status(request, states):
    parent = request["parent"]
    bridge = next(iter(request["children"].get("DaemonSet.apps/v1", {}).values()), {}).get("status", {})
    nodes, ready = bridge.get("desiredNumberScheduled", 0), bridge.get("numberReady", 0)
    unbound = [device["name"] for device in states if device["state"] not in ("Serving", "Held")]
    bound = len(states) - len(unbound)
    before = {it["type"]: it for it in parent.get("status", {}).get("conditions", [])}

    def condition(kind, holds, reason, message):
        state, last = "True" if holds else "False", before.get(kind, {})
        since = last.get("lastTransitionTime") if last.get("status") == state else None
        return {
            "type": kind,
            "status": state,
            "reason": reason,
            "message": message,
            "observedGeneration": parent["metadata"].get("generation", 0),
            "lastTransitionTime": since or datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    return {
        "conditions": [
            condition("Ready", ready >= nodes, "Ready" if ready >= nodes else "BridgesNotReady", f"{ready}/{nodes} bridges run."),
            condition("DevicesBound", not unbound, "AllBound" if not unbound else "DevicesMissing", ", ".join(unbound[:8])),
        ],
        "summary": {
            "devices": len(states),
            "devicesBound": bound,
            "nodes": nodes,
            "nodesReady": ready,
            "bound": f"{bound}/{len(states)}",
            "ready": f"{ready}/{nodes}",
        },
        "devices": states,
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # The default, 1.0, takes a connection for each call,
    disable_nagle_algorithm = True  # with Nagle's algorithm an answer waits 40 ms for an acknowledgement,
    wbufsize = 1 << 16  # and head and body would go out one by one.

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps(sync(request), separators=(",", ":")).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
