package durable

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// shown is an instance as answers have it.
type shown struct {
	Name            string          `json:"name"`
	InstanceID      string          `json:"instanceId"`
	RuntimeStatus   string          `json:"runtimeStatus"`
	Input           json.RawMessage `json:"input"`
	CustomStatus    json.RawMessage `json:"customStatus"`
	Output          json.RawMessage `json:"output"`
	CreatedTime     string          `json:"createdTime"`
	LastUpdatedTime string          `json:"lastUpdatedTime"`
	History         []any           `json:"historyEvents,omitempty"`
}

const seconds = "2006-01-02T15:04:05Z"

func view(i *instances.Instance, input bool) shown {
	s := shown{
		Name: i.Name, InstanceID: i.ID, RuntimeStatus: string(i.Status), Input: json.RawMessage("null"),
		CustomStatus: orNull(i.CustomStatus), Output: orNull(i.Output),
		CreatedTime: i.Created.UTC().Format(seconds), LastUpdatedTime: i.Updated.UTC().Format(seconds),
	}
	if input {
		s.Input = orNull(i.Input)
	}
	return s
}

func orNull(v json.RawMessage) json.RawMessage {
	if len(v) == 0 {
		return json.RawMessage("null")
	}
	return v
}

func (c *call) flag(name string, without bool) bool {
	v, err := strconv.ParseBool(c.query.Get(name))
	if err != nil {
		return without
	}
	return v
}

func (c *call) status(id string) {
	i, err := c.cfg.Engine.Get(c.r.Context(), id)
	if err != nil {
		c.refuse(notFound(err))
		return
	}
	c.show(i)
}

// show answers with an instance: 202 while it goes on.
func (c *call) show(i *instances.Instance) {
	s := view(i, c.flag("showInput", true))
	if c.flag("showHistory", false) {
		s.History = history(i, c.flag("showHistoryOutput", false))
	}
	status := http.StatusOK
	switch {
	case !i.Status.Final():
		status = http.StatusAccepted
		c.w.Header().Set("Location", root(c.r)+c.r.URL.RequestURI())
		c.w.Header().Set("Retry-After", "5")
	case i.Status == instances.Failed && c.flag("returnInternalServerErrorOnFailure", false):
		status = http.StatusInternalServerError
	}
	c.json(status, s)
}

// history gives the events that matter to people: those that end something, with
// when it began.
func history(i *instances.Instance, output bool) []any {
	list := []any{}
	begun := map[int]*instances.Event{}
	for n := range i.History {
		v := &i.History[n]
		switch v.EventType {
		case instances.TaskScheduled, instances.ChildCreated, instances.TimerCreated:
			begun[v.EventId] = v
			continue
		case instances.OrchestratorStarted, instances.OrchestratorEnded:
			continue
		}
		list = append(list, shownEvent(i, v, begun, output))
	}
	return list
}

func shownEvent(i *instances.Instance, v *instances.Event, begun map[int]*instances.Event, output bool) map[string]any {
	m := map[string]any{"EventType": v.EventType.String(), "Timestamp": v.Timestamp}
	if id, ends := v.Task(); ends && begun[id] != nil {
		m["ScheduledTime"] = begun[id].Timestamp
		if begun[id].Name != "" {
			m["FunctionName"] = begun[id].Name
		}
	}
	switch v.EventType {
	case instances.ExecutionStarted:
		m["FunctionName"] = v.Name
	case instances.EventRaised:
		m["Name"] = v.Name
	case instances.ExecutionCompleted:
		m["OrchestrationStatus"] = i.Status
	}
	if v.FireAt != nil {
		m["FireAt"] = v.FireAt
	}
	if v.Reason != nil {
		m["Reason"] = *v.Reason
	}
	for name, text := range map[string]*string{"Result": v.Result, "Input": v.Input} {
		if output && text != nil && json.Valid([]byte(*text)) {
			m[name] = json.RawMessage(*text)
		}
	}
	return m
}

const (
	continuation = "x-ms-continuation-token"
	pageDefault  = 100
	pageMost     = 1000
)

func (c *call) list() {
	q := c.filter()
	limit, err := strconv.Atoi(c.query.Get("top"))
	if err != nil || limit <= 0 {
		limit = pageDefault
	}
	after, err := base64.RawURLEncoding.DecodeString(c.r.Header.Get(continuation))
	if err != nil || len(after) > instances.MaxID {
		c.message(http.StatusBadRequest, "the header "+continuation+" is not from an answer")
		return
	}
	found, more, err := c.cfg.Engine.List(c.r.Context(), q, string(after), min(limit, pageMost))
	if err != nil {
		c.refuse(err)
		return
	}
	list := make([]shown, len(found))
	for n, i := range found {
		list[n] = view(i, c.flag("showInput", true))
	}
	token := ""
	if more {
		token = base64.RawURLEncoding.EncodeToString([]byte(found[len(found)-1].ID))
	}
	c.w.Header().Set(continuation, token)
	c.json(http.StatusOK, list)
}

// filter reads the conditions of a query. As on Azure, those that cannot be
// understood do not count.
func (c *call) filter() instances.Query {
	q := instances.Query{Prefix: c.query.Get("instanceIdPrefix")}
	q.From, _ = c.time("createdTimeFrom")
	q.To, _ = c.time("createdTimeTo")
	for _, v := range c.query["runtimeStatus"] {
		for name := range strings.SplitSeq(v, ",") {
			for _, s := range instances.Statuses() {
				if strings.EqualFold(string(s), strings.TrimSpace(name)) {
					q.Statuses = append(q.Statuses, s)
				}
			}
		}
	}
	return q
}

func (c *call) time(name string) (time.Time, bool) {
	v := c.query.Get(name)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, v); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func (c *call) purge(id string) {
	switch err := c.cfg.Engine.Purge(c.r.Context(), id); {
	case errors.Is(err, problem.Conflict):
		c.json(http.StatusPreconditionFailed, err.Error())
	case err != nil:
		c.refuse(notFound(err))
	default:
		c.json(http.StatusOK, map[string]int{"instancesDeleted": 1})
	}
}

func (c *call) purgeAll() {
	if _, ok := c.time("createdTimeFrom"); !ok {
		c.json(http.StatusBadRequest, "Please provide value for 'createdTimeFrom' parameter.")
		return
	}
	n, err := c.cfg.Engine.PurgeAll(c.r.Context(), c.filter())
	switch {
	case err != nil:
		c.refuse(err)
	case n == 0:
		c.w.WriteHeader(http.StatusNotFound)
	default:
		c.json(http.StatusOK, map[string]int{"instancesDeleted": n})
	}
}
