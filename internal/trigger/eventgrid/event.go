package eventgrid

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// Bounds of a delivery. Event Grid sends at most 1 MiB of events, or one event of
// up to 1 MiB, to which it adds a few members.
const (
	maxBody   = 2 << 20
	maxEvents = 5000
)

// event is one event of either schema.
type event struct {
	raw     json.RawMessage
	members struct {
		Data        json.RawMessage `json:"data"`
		TraceParent any             `json:"traceparent"`
		TraceState  any             `json:"tracestate"`
	}
}

func (e *event) data() json.RawMessage {
	if e.members.Data == nil {
		return json.RawMessage("null")
	}
	return e.members.Data
}

// trace is that of CloudEvents' extension for distributed tracing.
func (e *event) trace() worker.Trace {
	parent, _ := e.members.TraceParent.(string)
	state, _ := e.members.TraceState.(string)
	if parent == "" {
		return worker.Trace{}
	}
	return worker.Trace{Parent: parent, State: state}
}

// parseEvents reads the body of a notification, an array of events or one alone;
// whole is the array as text. Errors are problem.Invalid and problem.TooLarge.
func parseEvents(body []byte) (events []event, whole json.RawMessage, err error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if !json.Valid(body) {
		return nil, nil, problem.New(problem.Invalid, "the body is not JSON")
	}
	var list []json.RawMessage
	switch body[0] {
	case '{':
		list, whole = []json.RawMessage{body}, bytes.Join([][]byte{[]byte("["), body, []byte("]")}, nil)
	case '[':
		whole = body
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, nil, problem.New(problem.Invalid, "the body is not an array of events")
		}
	default:
		return nil, nil, problem.New(problem.Invalid, "the body must be an event or an array of events")
	}
	if len(list) > maxEvents {
		return nil, nil, problem.New(problem.TooLarge, fmt.Sprintf("more than %d events at once", maxEvents))
	}
	events, err = eachEvent(list)
	return events, whole, err
}

func eachEvent(list []json.RawMessage) ([]event, error) {
	events := make([]event, len(list))
	for i, raw := range list {
		events[i].raw = raw
		if raw[0] != '{' || json.Unmarshal(raw, &events[i].members) != nil {
			return nil, problem.New(problem.Invalid, fmt.Sprintf("event %d is not a JSON object", i))
		}
	}
	return events, nil
}

// manyData gives the data of all events as an array.
func manyData(events []event) json.RawMessage {
	list := make([]json.RawMessage, len(events))
	for i := range events {
		list[i] = events[i].data()
	}
	text, err := json.Marshal(list)
	if err != nil { // each was valid
		return json.RawMessage("[]")
	}
	return text
}

// validationCode reads the code of a subscription's validation: from the first
// event of an array, or from a single CloudEvent, whose data may be JSON in a text.
func validationCode(body []byte) (string, error) {
	events, _, err := parseEvents(body)
	if err != nil {
		return "", err
	}
	missing := problem.New(problem.Invalid, "the body has no data.validationCode")
	if len(events) == 0 {
		return "", missing
	}
	data := events[0].data()
	var text string
	if json.Unmarshal(data, &text) == nil {
		data = json.RawMessage(text)
	}
	var v struct {
		ValidationCode string `json:"validationCode"`
	}
	if json.Unmarshal(data, &v) != nil || v.ValidationCode == "" {
		return "", missing
	}
	return v.ValidationCode, nil
}
