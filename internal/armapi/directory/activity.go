package directory

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/authorization/filter"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// activity lists the events of a subscription in the form of the activity log.
func (s *Service) activity(c *arm.Call) (arm.Reply, error) {
	f, match, err := s.activityFilter(c.Query.Get("$filter"))
	if err != nil {
		return arm.Reply{}, badFilter(err)
	}
	list, next, err := s.page(c, f)
	if err != nil {
		return arm.Reply{}, err
	}
	out := []map[string]any{}
	for _, e := range list {
		if match(e) {
			out = append(out, s.showActivity(e))
		}
	}
	return arm.List(c, out, next), nil
}

func badFilter(err error) error {
	var p *problem.Error
	if errors.As(err, &p) && p.Kind == problem.Invalid {
		return arm.Faultf(http.StatusBadRequest, "BadRequest", "The filter is not supported: %s.", p.Message)
	}
	return err
}

// activityFilter reads what clients ask the activity log: times, a group, a
// resource, a provider, a correlation id, a caller and a status.
func (s *Service) activityFilter(text string) (f audit.Filter, match func(audit.Entry) bool, err error) {
	terms, err := filter.Parse(text)
	if err != nil {
		return f, nil, err
	}
	f.Scope = resource.Subscription(s.cfg.SubscriptionID).String()
	var conditions []func(audit.Entry) bool
	for _, t := range terms {
		switch t.Name + " " + t.Op {
		case "eventtimestamp ge", "eventtimestamp gt":
			f.From, err = timeOf("eventTimestamp", t.Value)
		case "eventtimestamp le", "eventtimestamp lt":
			if f.To, err = timeOf("eventTimestamp", t.Value); t.Op == "le" {
				f.To = f.To.Add(time.Nanosecond)
			}
		case "resourcegroupname eq":
			f.Scope = resource.Group(s.cfg.SubscriptionID, t.Value).String()
		case "resourceuri eq", "resourceid eq":
			err = s.within(&f, t.Value)
		case "caller eq":
			f.Principal = t.Value
		case "eventchannels eq", "levels eq": // everything is in both
		default:
			is := activityCondition(t)
			if is == nil {
				return f, nil, problem.New(problem.Invalid, fmt.Sprintf("$filter has %q, which is not supported", t.Name+" "+t.Op))
			}
			conditions = append(conditions, is)
		}
		if err != nil {
			return f, nil, err
		}
	}
	return f, func(e audit.Entry) bool {
		for _, is := range conditions {
			if !is(e) {
				return false
			}
		}
		return true
	}, nil
}

// within narrows the filter to a resource, which must be in the subscription.
func (s *Service) within(f *audit.Filter, text string) error {
	id, err := resource.Parse(text)
	if err != nil || !resource.Subscription(s.cfg.SubscriptionID).Contains(id) {
		return problem.New(problem.Invalid, "resourceUri must be the id of a resource in this subscription")
	}
	f.Scope = id.String()
	return nil
}

func activityCondition(t filter.Term) func(audit.Entry) bool {
	switch t.Name + " " + t.Op {
	case "correlationid eq":
		return func(e audit.Entry) bool { return strings.EqualFold(e.CorrelationID, t.Value) }
	case "resourceprovider eq":
		return func(e audit.Entry) bool {
			namespace, _, _ := strings.Cut(e.Action, "/")
			return strings.EqualFold(namespace, t.Value)
		}
	case "status eq":
		return func(e audit.Entry) bool { return strings.EqualFold(statusOf(e), t.Value) }
	}
	return nil
}

// statusOf gives an outcome in the activity log's words.
func statusOf(e audit.Entry) string {
	if e.Outcome == "" || strings.EqualFold(e.Outcome, "Succeeded") {
		return "Succeeded"
	}
	return "Failed"
}

// localizable is how the activity log spells a value and its name for people.
func localizable(value, text string) map[string]any {
	return map[string]any{"value": value, "localizedValue": text}
}

func (s *Service) showActivity(e audit.Entry) map[string]any {
	namespace, _, _ := strings.Cut(e.Action, "/")
	level, sub := "Informational", ""
	if statusOf(e) == "Failed" {
		level = "Error"
	}
	if e.Status != 0 {
		sub = http.StatusText(e.Status)
	}
	at := e.Time.UTC().Format("2006-01-02T15:04:05.0000000Z")
	id, typ, group := e.Scope, "", ""
	if rid, err := resource.Parse(e.Scope); err == nil {
		typ, group = rid.Type(), rid.Group()
	}
	caller := e.Principal.ObjectID
	return map[string]any{
		"eventDataId": fmt.Sprintf("%020d", e.Sequence), "id": id + "/events/" + strconv.FormatUint(e.Sequence, 10) + "/ticks/" + strconv.FormatInt(ticks(e.Time), 10),
		"correlationId": e.CorrelationID, "operationId": e.CorrelationID, "tenantId": s.cfg.TenantID, "subscriptionId": s.cfg.SubscriptionID,
		"caller": caller, "level": level, "channels": "Operation", "description": e.Reason,
		"eventTimestamp": at, "submissionTimestamp": at,
		"category": localizable("Administrative", "Administrative"), "eventName": localizable("EndRequest", "End request"),
		"eventSource": localizable("Administrative", "Administrative"), "operationName": localizable(e.Action, e.Action),
		"resourceProviderName": localizable(namespace, namespace), "resourceType": localizable(typ, typ),
		"resourceGroupName": group, "resourceId": id,
		"status":        localizable(statusOf(e), statusOf(e)),
		"subStatus":     localizable(strings.ReplaceAll(sub, " ", ""), subText(sub, e.Status)),
		"authorization": map[string]any{"action": e.Action, "scope": id, "role": ""},
		"claims":        map[string]any{"appid": e.Principal.AppID, "oid": caller, "name": e.Principal.Name},
		"httpRequest":   map[string]any{"clientRequestId": e.CorrelationID, "clientIpAddress": e.Source, "method": e.Details["method"]},
		"properties":    properties(e),
	}
}

func subText(text string, status int) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf("%s (HTTP Status Code: %d)", text, status)
}

func properties(e audit.Entry) map[string]string {
	out := map[string]string{"eventCategory": string(e.Category)}
	if e.Status != 0 {
		out["statusCode"] = strconv.Itoa(e.Status)
	}
	if e.Count > 0 {
		out["count"] = strconv.Itoa(e.Count)
	}
	return out
}

// ticks counts 100 ns from the year 1, as ids of events do.
func ticks(t time.Time) int64 {
	return t.Unix()*10_000_000 + int64(t.Nanosecond()/100) + 621_355_968_000_000_000
}
