package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
	"time"
)

const (
	system = "serialfleet-system"
	admin  = 9640
)

type meta struct {
	Name       string            `json:"name"`
	Namespace  string            `json:"namespace,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Generation int64             `json:"generation,omitempty"`
}

type request struct {
	Parent struct {
		Metadata meta `json:"metadata"`
		Spec     struct {
			ServiceNamespace string   `json:"serviceNamespace"`
			Devices          []device `json:"devices"`
		} `json:"spec"`
		Status struct {
			Conditions []condition `json:"conditions"`
		} `json:"status"`
	} `json:"parent"`
	Children struct {
		DaemonSets map[string]struct {
			Status struct {
				Desired int `json:"desiredNumberScheduled"`
				Ready   int `json:"numberReady"`
			} `json:"status"`
		} `json:"DaemonSet.apps/v1"`
		Slices map[string]slice `json:"EndpointSlice.discovery.k8s.io/v1"`
	} `json:"children"`
	Related struct {
		Slices map[string]slice `json:"EndpointSlice.discovery.k8s.io/v1"`
		Nodes  map[string]node  `json:"SerialNode.serialfleet.io/v1alpha1"`
	} `json:"related"`
}

type device struct {
	Name string `json:"name"`
	Port int    `json:"port"`
}

type node struct {
	NodeName string `json:"nodeName"`
	PodUID   string `json:"podUID"`
	Ports    []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		TTY   string `json:"tty"`
	} `json:"ports"`
}

type slice struct {
	APIVersion  string     `json:"apiVersion"`
	Kind        string     `json:"kind"`
	Metadata    meta       `json:"metadata"`
	AddressType string     `json:"addressType"`
	Endpoints   []endpoint `json:"endpoints"`
	Ports       []port     `json:"ports"`
}

type endpoint struct {
	Addresses  []string `json:"addresses"`
	Conditions struct {
		Ready bool `json:"ready"`
	} `json:"conditions"`
	NodeName  string `json:"nodeName"`
	TargetRef struct {
		Kind      string `json:"kind"`
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		UID       string `json:"uid"`
	} `json:"targetRef"`
}

type port struct {
	Name        string `json:"name,omitempty"`
	AppProtocol string `json:"appProtocol,omitempty"`
	Protocol    string `json:"protocol"`
	Port        int    `json:"port"`
	TargetPort  int    `json:"targetPort,omitempty"`
}

type service struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Metadata   meta        `json:"metadata"`
	Spec       serviceSpec `json:"spec"`
}

type serviceSpec struct {
	Type           string            `json:"type"`
	ClusterIP      string            `json:"clusterIP,omitempty"`
	IPFamilyPolicy string            `json:"ipFamilyPolicy"`
	Selector       map[string]string `json:"selector,omitempty"`
	Ports          []port            `json:"ports"`
}

type condition struct {
	Type               string `json:"type"`
	Status             string `json:"status"`
	Reason             string `json:"reason"`
	Message            string `json:"message"`
	ObservedGeneration int64  `json:"observedGeneration"`
	LastTransitionTime string `json:"lastTransitionTime"`
}

type deviceStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	State   string `json:"state"`
	Node    string `json:"node,omitempty"`
	TTY     string `json:"tty,omitempty"`
	Message string `json:"message,omitempty"`
}

type answer struct {
	Children []any          `json:"children"`
	Status   map[string]any `json:"status"`
}

type claim struct{ node, pod, state, tty string }

func sync(r *request) answer {
	fleet, namespace := r.Parent.Metadata.Name, r.Parent.Spec.ServiceNamespace
	if namespace == "" {
		namespace = system
	}
	devices := r.Parent.Spec.Devices
	sort.Slice(devices, func(i, j int) bool { return devices[i].Name < devices[j].Name })
	ports := podPorts(devices)
	pods := bridges(fleet, r.Related.Slices)
	claims := claimsOf(r.Related.Nodes, pods)

	children := []any{daemonSet(fleet), anchor(fleet), networkPolicy(fleet, ports)}
	states := make([]deviceStatus, 0, len(devices))
	for _, device := range devices {
		incumbent := ""
		for _, endpoint := range r.Children.Slices[namespace+"/"+device.Name+"-ipv4"].Endpoints {
			incumbent = endpoint.NodeName
		}
		if device.Port == 0 {
			device.Port = 6638
		}
		claim := arbitrate(claims[device.Name], incumbent)
		var pod *endpoint
		if claim != nil {
			pod = pods[claim.pod]
		}
		children = append(children, deviceService(fleet, device, namespace, ports[device.Name]))
		children = append(children, endpointSlice(fleet, device.Name, namespace, ports[device.Name], pod))
		states = append(states, statusOf(device, namespace, claim))
	}
	return answer{children, status(r, states)}
}

// bridges returns the ready bridge pods by uid.
func bridges(fleet string, slices map[string]slice) map[string]*endpoint {
	pods := map[string]*endpoint{}
	for _, slice := range slices {
		if slice.Metadata.Labels["kubernetes.io/service-name"] != fleet+"-anchor" {
			continue
		}
		for i, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready {
				pods[endpoint.TargetRef.UID] = &slice.Endpoints[i]
			}
		}
	}
	return pods
}

// claimsOf returns who serves or holds each device, believed only of the ready pod on its own node.
func claimsOf(nodes map[string]node, pods map[string]*endpoint) map[string][]claim {
	claims := map[string][]claim{}
	for _, node := range nodes {
		pod := pods[node.PodUID]
		if pod == nil || pod.NodeName != node.NodeName {
			continue
		}
		for _, port := range node.Ports {
			if port.State == "Serving" || port.State == "Held" {
				claims[port.Name] = append(claims[port.Name], claim{node.NodeName, node.PodUID, port.State, port.TTY})
			}
		}
	}
	return claims
}

// arbitrate picks at most one: the only one that serves, or of several the one that has the endpoint already.
func arbitrate(claims []claim, incumbent string) *claim {
	var serving []claim
	for _, claim := range claims {
		if claim.state == "Serving" {
			serving = append(serving, claim)
		}
	}
	if len(serving) == 0 {
		serving = claims
	}
	for i := range serving {
		if len(serving) == 1 || serving[i].node == incumbent {
			return &serving[i]
		}
	}
	return nil
}

func podPorts(devices []device) map[string]int {
	taken, ports := map[uint32]bool{}, map[string]int{}
	for _, device := range devices {
		digest := sha256.Sum256([]byte(device.Name))
		port := binary.BigEndian.Uint32(digest[:4]) % 10000
		for taken[port] {
			port = (port + 1) % 10000
		}
		taken[port] = true
		ports[device.Name] = 20000 + int(port)
	}
	return ports
}

func statusOf(device device, namespace string, claim *claim) deviceStatus {
	address := fmt.Sprintf("%s.%s.svc:%d", device.Name, namespace, device.Port)
	if claim == nil {
		return deviceStatus{Name: device.Name, Address: address, State: "Absent", Message: "No such device on any node: plug it in."}
	}
	return deviceStatus{Name: device.Name, Address: address, State: claim.state, Node: claim.node, TTY: claim.tty}
}

func status(r *request, states []deviceStatus) map[string]any {
	nodes, ready := 0, 0
	for _, set := range r.Children.DaemonSets {
		nodes, ready = set.Status.Desired, set.Status.Ready
	}
	var unbound []string
	for _, state := range states {
		if state.State == "Absent" {
			unbound = append(unbound, state.Name)
		}
	}
	bound := len(states) - len(unbound)
	missing := strings.Join(unbound[:min(8, len(unbound))], ", ")
	return map[string]any{
		"conditions": []condition{
			conditionOf(r, "Ready", ready >= nodes, "Ready", "BridgesNotReady", fmt.Sprintf("%d/%d bridges run.", ready, nodes)),
			conditionOf(r, "DevicesBound", len(unbound) == 0, "AllBound", "DevicesMissing", missing),
		},
		"summary": map[string]any{
			"devices":      len(states),
			"devicesBound": bound,
			"nodes":        nodes,
			"nodesReady":   ready,
			"bound":        fmt.Sprintf("%d/%d", bound, len(states)),
			"ready":        fmt.Sprintf("%d/%d", ready, nodes),
		},
		"devices": states,
	}
}

func conditionOf(r *request, kind string, holds bool, yes, no, message string) condition {
	state, reason := "True", yes
	if !holds {
		state, reason = "False", no
	}
	since := time.Now().UTC().Format(time.RFC3339)
	for _, last := range r.Parent.Status.Conditions {
		if last.Type == kind && last.Status == state && last.LastTransitionTime != "" {
			since = last.LastTransitionTime
		}
	}
	return condition{kind, state, reason, message, r.Parent.Metadata.Generation, since}
}
