// Package rules owns what scale rules mean: which kind a rule is, what it measures
// against which target, and the rule that revisions with an ingress have by
// default. The types are those of the platform and of KEDA.
//
// It reads no sources and does not know how many replicas follow.
package rules

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/containerapp"
)

// Kind is what a rule measures.
type Kind string

// Kinds, named as KEDA names the types.
const (
	HTTP        Kind = "http"
	TCP         Kind = "tcp"
	CPU         Kind = "cpu"
	Memory      Kind = "memory"
	Queue       Kind = "azure-queue"
	Cron        Kind = "cron"
	Unsupported Kind = "" // Latchkey does not measure it
)

// Supported names the kinds there are, for messages.
const Supported = "http, tcp, cpu, memory, azure-queue, cron"

// Defaults of targets, as documented.
const (
	defaultRequests = 10
	defaultMessages = 5
)

// Rule is one scale rule of a revision.
type Rule struct {
	Name       string
	Type       string // as its app names it
	Kind       Kind
	Target     float64 // of Unit: for each replica
	Activation float64 // more than this is work
	Unit       string
	Queue      *QueuePlace // of Queue
	Window     *Window     // of Cron
	Fault      string      // why it cannot be followed; empty: it can
}

// QueuePlace is a storage queue and what opens it.
type QueuePlace struct {
	Name      string
	Account   string
	Endpoint  string // suffix of the account's host; empty: the public cloud's
	Identity  string // "system", a resource id, or empty
	SecretRef string // of a connection string
	Env       string // variable of the first container with a connection string
}

// Resource reports whether the rule measures what replicas use, which needs one.
func (r Rule) Resource() bool { return r.Kind == CPU || r.Kind == Memory }

// Remote reports whether measuring it asks somebody else.
func (r Rule) Remote() bool { return r.Kind == Queue || r.Resource() }

// Parse gives the rules of a revision. A rule that cannot be followed is there
// with a Fault.
func Parse(t containerapp.Template, ingress *containerapp.Ingress) []Rule {
	if t.Scale == nil || len(t.Scale.Rules) == 0 {
		return defaults(ingress)
	}
	list := make([]Rule, 0, len(t.Scale.Rules))
	for _, given := range t.Scale.Rules {
		r := Rule{Name: given.Name}
		switch {
		case given.HTTP != nil:
			r.load(HTTP, given.HTTP.Metadata)
		case given.TCP != nil:
			r.load(TCP, given.TCP.Metadata)
		case given.AzureQueue != nil:
			r.azureQueue(*given.AzureQueue)
		case given.Custom != nil:
			r.custom(*given.Custom, t)
		}
		list = append(list, r)
	}
	return list
}

// defaults gives the rule of a revision with an ingress and no rules; one without
// either has none.
func defaults(ingress *containerapp.Ingress) []Rule {
	if ingress == nil {
		return nil
	}
	kind := HTTP
	if ingress.Transport == "tcp" {
		kind = TCP
	}
	r := Rule{Name: string(kind)}
	r.load(kind, nil)
	return []Rule{r}
}

// load reads a rule about requests or connections at a time.
func (r *Rule) load(kind Kind, metadata map[string]string) {
	r.Kind, r.Type, r.Unit, r.Target = kind, string(kind), "requests", defaultRequests
	if kind == TCP {
		r.Unit = "connections"
	}
	for _, key := range []string{"concurrentRequests", "concurrentConnections"} {
		if _, there := metadata[key]; there {
			r.Target = r.number(metadata, key, defaultRequests)
		}
	}
	r.positive("concurrentRequests")
}

func (r *Rule) azureQueue(q containerapp.QueueRule) {
	r.Kind, r.Type, r.Unit, r.Target = Queue, string(Queue), "messages", float64(q.QueueLength)
	r.Queue = &QueuePlace{Name: q.QueueName, Account: q.AccountName, Identity: q.Identity, SecretRef: connection(q.Auth)}
	r.positive("queueLength")
	r.opened()
}

// connection gives the secret with a connection string: the parameter is called
// connection, but a rule with one secret needs no name for it.
func connection(auth []containerapp.ScaleAuth) string {
	for _, a := range auth {
		if a.TriggerParameter == "connection" || len(auth) == 1 {
			return a.SecretRef
		}
	}
	return ""
}

// opened finds a fault with what opens the queue.
func (r *Rule) opened() {
	q := r.Queue
	switch {
	case q.Name == "":
		r.fault("queueName", "must not be empty")
	case q.Identity != "" && q.Account == "":
		r.fault("accountName", "is needed with an identity")
	case q.Identity == "" && q.SecretRef == "" && q.Env == "":
		r.fault("auth", "needs a secret for triggerParameter connection, or the rule an identity")
	}
}

func (r *Rule) custom(c containerapp.CustomRule, t containerapp.Template) {
	r.Type = c.Type
	switch Kind(strings.ToLower(c.Type)) {
	case HTTP:
		r.load(HTTP, c.Metadata)
	case TCP:
		r.load(TCP, c.Metadata)
	case CPU:
		r.resource(CPU, c.Metadata, t)
	case Memory:
		r.resource(Memory, c.Metadata, t)
	case Cron:
		r.cron(c.Metadata)
	case Queue:
		r.customQueue(c)
	default:
		r.Fault = "its type is not measured here"
	}
}

func (r *Rule) customQueue(c containerapp.CustomRule) {
	r.Kind, r.Unit = Queue, "messages"
	r.Target = r.number(c.Metadata, "queueLength", defaultMessages)
	r.Activation = r.number(c.Metadata, "activationQueueLength", 0)
	r.positive("queueLength")
	r.Queue = &QueuePlace{Name: c.Metadata["queueName"], Account: c.Metadata["accountName"], Endpoint: c.Metadata["endpointSuffix"],
		Identity: c.Identity, SecretRef: connection(c.Auth), Env: c.Metadata["connectionFromEnv"]}
	if s := c.Metadata["queueLengthStrategy"]; s != "" && s != "all" {
		r.fault("queueLengthStrategy", "must be all: only the length of the whole queue is measured")
	}
	r.opened()
}

// number reads a number of the metadata.
func (r *Rule) number(metadata map[string]string, key string, otherwise float64) float64 {
	text, there := metadata[key]
	if !there || text == "" {
		return otherwise
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1e15) {
		r.fault(key, "must be a number, not "+strconv.Quote(text))
		return otherwise
	}
	return f
}

func (r *Rule) positive(key string) {
	if r.Target <= 0 {
		r.fault(key, "must be more than 0")
		r.Target = 1
	}
}

// fault keeps the first thing wrong.
func (r *Rule) fault(key, why string) {
	if r.Fault == "" {
		r.Fault = fmt.Sprintf("%s of the rule %s", key, why)
	}
}
