package main

import (
	"sort"
	"strconv"
)

type object = map[string]any

func labels(fleet, component string, more map[string]string) map[string]string {
	all := map[string]string{
		"app.kubernetes.io/component":  component,
		"app.kubernetes.io/instance":   fleet,
		"app.kubernetes.io/managed-by": "serialfleet",
		"app.kubernetes.io/name":       "serialfleet",
		"serialfleet.io/fleet":         fleet,
	}
	for key, value := range more {
		all[key] = value
	}
	return all
}

func podLabels(fleet string) map[string]string {
	return map[string]string{
		"app.kubernetes.io/component": "bridge",
		"app.kubernetes.io/name":      "serialfleet",
		"serialfleet.io/fleet":        fleet,
	}
}

func deviceService(fleet string, device device, namespace string, podPort int) service {
	all := labels(fleet, "device", map[string]string{"serialfleet.io/device": device.Name})
	return service{"v1", "Service", meta{Name: device.Name, Namespace: namespace, Labels: all}, serviceSpec{
		Type:           "ClusterIP",
		IPFamilyPolicy: "PreferDualStack",
		Ports:          []port{{"serial", "tcp", "TCP", device.Port, podPort}},
	}}
}

func endpointSlice(fleet, name, namespace string, podPort int, pod *endpoint) slice {
	all := labels(fleet, "device", map[string]string{
		"endpointslice.kubernetes.io/managed-by": "serialfleet.io",
		"kubernetes.io/service-name":             name,
		"serialfleet.io/device":                  name,
	})
	var endpoints []endpoint
	if pod != nil {
		one := *pod
		one.Addresses = pod.Addresses[:1]
		endpoints = []endpoint{one}
	}
	return slice{
		APIVersion:  "discovery.k8s.io/v1",
		Kind:        "EndpointSlice",
		Metadata:    meta{Name: name + "-ipv4", Namespace: namespace, Labels: all},
		AddressType: "IPv4",
		Endpoints:   endpoints,
		Ports:       []port{{"serial", "tcp", "TCP", podPort, 0}},
	}
}

func anchor(fleet string) service {
	return service{"v1", "Service", meta{Name: fleet + "-anchor", Namespace: system, Labels: labels(fleet, "bridge", nil)}, serviceSpec{
		Type:           "ClusterIP",
		ClusterIP:      "None",
		IPFamilyPolicy: "PreferDualStack",
		Selector:       podLabels(fleet),
		Ports:          []port{{"admin", "", "TCP", admin, admin}},
	}}
}

func networkPolicy(fleet string, ports map[string]int) object {
	open := []port{{Protocol: "TCP", Port: admin}}
	for _, number := range ports {
		open = append(open, port{Protocol: "TCP", Port: number})
	}
	sort.Slice(open, func(i, j int) bool { return open[i].Port < open[j].Port })
	return object{
		"apiVersion": "networking.k8s.io/v1",
		"kind":       "NetworkPolicy",
		"metadata":   meta{Name: fleet + "-bridge", Namespace: system, Labels: labels(fleet, "bridge", nil)},
		"spec": object{
			"podSelector": object{"matchLabels": podLabels(fleet)},
			"policyTypes": []string{"Ingress"},
			"ingress":     []object{{"ports": open}},
		},
	}
}

func daemonSet(fleet string) object {
	return object{
		"apiVersion": "apps/v1",
		"kind":       "DaemonSet",
		"metadata":   meta{Name: fleet + "-bridge", Namespace: system, Labels: labels(fleet, "bridge", nil)},
		"spec": object{
			"selector":       object{"matchLabels": podLabels(fleet)},
			"updateStrategy": object{"type": "RollingUpdate", "rollingUpdate": object{"maxUnavailable": 1}},
			"template": object{
				"metadata": object{"labels": podLabels(fleet)},
				"spec": object{
					"serviceAccountName":            "serialfleet-bridge",
					"automountServiceAccountToken":  false,
					"enableServiceLinks":            false,
					"hostUsers":                     true,
					"nodeSelector":                  object{"kubernetes.io/os": "linux"},
					"priorityClassName":             "system-node-critical",
					"terminationGracePeriodSeconds": 15,
					"tolerations":                   []object{{"operator": "Exists"}},
					"containers":                    []object{container(fleet)},
					"volumes":                       volumes(fleet),
				},
			},
		},
	}
}

func container(fleet string) object {
	field := func(name, path string) object {
		return object{"name": name, "valueFrom": object{"fieldRef": object{"fieldPath": path}}}
	}
	text := func(name, value string) object { return object{"name": name, "value": value} }
	get := func(path string) object { return object{"path": path, "port": "admin"} }
	return object{
		"name":    "bridge",
		"image":   "example/serialfleet:bench",
		"command": []string{"/serialfleet-bridge"},
		"args":    []string{"run", "--fleet", fleet},
		"env": []object{
			field("POD_UID", "metadata.uid"),
			field("SERIALFLEET_NODE", "spec.nodeName"),
			field("SERIALFLEET_BIND", "status.podIPs"),
			text("SERIALFLEET_ADMIN_PORT", strconv.Itoa(admin)),
			text("SERIALFLEET_SYSFS_ROOT", "/sys"),
			text("SERIALFLEET_DEV_ROOT", "/host/dev"),
			text("SERIALFLEET_STATE_DIR", "/run/serialfleet"),
			text("SERIALFLEET_TLS_DIR", "/etc/serialfleet/tls"),
		},
		"ports":           []object{{"name": "admin", "containerPort": admin, "protocol": "TCP"}},
		"startupProbe":    object{"httpGet": get("/livez"), "periodSeconds": 1, "failureThreshold": 60},
		"livenessProbe":   object{"httpGet": get("/livez"), "periodSeconds": 10, "timeoutSeconds": 5},
		"readinessProbe":  object{"httpGet": get("/readyz"), "periodSeconds": 2, "timeoutSeconds": 2},
		"resources":       object{"requests": object{"cpu": "10m", "memory": "16Mi"}, "limits": object{"memory": "64Mi"}},
		"securityContext": object{"privileged": true, "readOnlyRootFilesystem": true},
		"volumeMounts": []object{
			{"name": "dev", "mountPath": "/host/dev", "readOnly": true, "mountPropagation": "HostToContainer"},
			{"name": "state", "mountPath": "/run/serialfleet"},
			{"name": "tls", "mountPath": "/etc/serialfleet/tls", "readOnly": true},
			{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
		},
	}
}

func volumes(fleet string) []object {
	namespace := object{"path": "namespace", "fieldRef": object{"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
	return []object{
		{"name": "dev", "hostPath": object{"path": "/dev", "type": "Directory"}},
		{"name": "state", "emptyDir": object{"medium": "Memory", "sizeLimit": "4Mi"}},
		{"name": "tls", "secret": object{"secretName": fleet + "-bridge-tls", "optional": true}},
		{"name": "token", "projected": object{"sources": []object{
			{"serviceAccountToken": object{"path": "token", "expirationSeconds": 3600}},
			{"configMap": object{"name": "kube-root-ca.crt", "items": []object{{"key": "ca.crt", "path": "ca.crt"}}}},
			{"downwardAPI": object{"items": []object{namespace}}},
		}}},
	}
}
