package monitor_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/monitor"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/traffic"
)

const (
	subscription = "/subscriptions/5ab5c1b0-0000-4000-8000-000000000000"
	orders       = subscription + "/resourceGroups/rg/providers/Microsoft.Web/sites/orders"
)

var now = time.Date(2026, 1, 1, 12, 0, 30, 0, time.UTC)

// readers lets everybody read figures but those whose token says otherwise.
type readers struct{}

func (readers) Allow(_ context.Context, r authz.Request) (authz.Decision, error) {
	return authz.Decision{Allowed: r.Principal != "nobody" && strings.HasPrefix(r.Action, "Microsoft.Insights/metric") && strings.HasSuffix(r.Action, "/read")}, nil
}

// serve gives the API of an app that got a request of 20 ms with 200 and one of 40 ms
// with 500 in each minute of the last two hours.
func serve(t *testing.T) http.Handler {
	t.Helper()
	p := monitor.New(monitor.Config{
		Find: func(_ context.Context, id resource.ID) (string, string, error) {
			if id.Name() != "orders" {
				return "", "", problem.New(problem.NotFound, "there is no app "+id.Name())
			}
			return "Orders", "local", nil
		},
		Read: func(name string, from time.Time, step time.Duration, count int) []traffic.Sum {
			if name != "Orders" {
				t.Errorf("asked after %s", name)
			}
			sums := make([]traffic.Sum, count)
			for i := range sums {
				minutes := uint64(step / time.Minute) //nolint:gosec // positive
				sums[i].Counts[traffic.S2xx], sums[i].Counts[traffic.S5xx], sums[i].Micros = minutes, minutes, minutes*60_000
			}
			return sums
		},
		Nodes: func() []traffic.Node {
			return []traffic.Node{{Name: "one", Since: now.Add(-10 * time.Minute)}, {Name: "two", Since: now.Add(-2 * time.Hour), Until: now}}
		},
		Clock: clock.NewManual(now),
	})
	return api(t, p)
}

func api(t *testing.T, p *monitor.Provider) http.Handler {
	t.Helper()
	api, err := arm.New(arm.Config{
		Authenticate: func(_ context.Context, r *http.Request) (arm.Caller, error) {
			return arm.Caller{ObjectID: r.Header.Get("Authorization")}, nil
		},
		Authorize: readers{}, SubscriptionID: strings.TrimPrefix(subscription, "/subscriptions/"), Clock: clock.NewManual(now),
	}, p.Operations()...)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// TestOneValueOfAVeryLongTime has what was counted lately, however long the time is.
func TestOneValueOfAVeryLongTime(t *testing.T) {
	for name, span := range map[string]string{
		"a month": "P31D", "a year up to tomorrow": "2025-01-01/2026-01-02", "all times": "0001-01-01/9999-12-31", "a year long ago": "1950-01-01/1951-01-01", "to come": "2030-01-01/2031-01-01",
	} {
		t.Run(name, func(t *testing.T) {
			c := clock.NewManual(now.Add(-2 * time.Minute))
			counter := new(traffic.Counter)
			book := traffic.NewBook("one", c, one{counter})
			counter.Observe(200, time.Millisecond)
			c.Advance(time.Minute)
			book.Close()
			counter.Observe(200, time.Millisecond)
			c.Advance(time.Minute)
			status, body := get(t, api(t, monitor.New(monitor.Config{
				Find:  func(context.Context, resource.ID) (string, string, error) { return "Orders", "local", nil },
				Read:  book.Read,
				Nodes: book.Nodes, Clock: c,
			})), orders+"/providers/Microsoft.Insights/metrics", url.Values{"timespan": {span}, "interval": {"FULL"}}, "me")
			var got response
			if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK {
				t.Fatalf("%d %v %s", status, err, body)
			}
			data := got.Value[0].Timeseries[0].Data
			lately := name != "a year long ago" && name != "to come"
			if len(data) != 1 || (data[0].Total != nil) != lately || lately && *data[0].Total != 2 {
				t.Errorf("%s", body)
			}
		})
	}
}

// one is the counter of the app "Orders".
type one struct{ *traffic.Counter }

func (o one) EachTraffic(yield func(string, traffic.Sum)) { yield("Orders", o.Total()) }

func (o one) Traffic(string) traffic.Sum { return o.Total() }

func get(t *testing.T, h http.Handler, path string, query url.Values, as string) (int, []byte) {
	t.Helper()
	query.Set("api-version", "2023-10-01")
	r := httptest.NewRequestWithContext(t.Context(), "GET", "https://localhost"+path+"?"+query.Encode(), nil)
	r.Header.Set("Authorization", as)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.Bytes()
}

// response is what the SDK for Go decodes, with what is ours.
type response struct {
	Timespan, Interval, Namespace, Resourceregion string
	Cost                                          int32
	Value                                         []struct {
		ID, Type, Unit, DisplayDescription, ErrorCode string
		Name                                          struct{ Value, LocalizedValue string }
		Timeseries                                    []struct {
			Metadatavalues []any
			Data           []point
		}
	}
	Latchkey struct {
		Since time.Time
		Nodes []struct {
			Name  string
			Since time.Time
			Until *time.Time
		}
	}
}

type point struct {
	TimeStamp             time.Time
	Total, Average, Count *float64
}

func TestFiguresOfAnApp(t *testing.T) {
	api := serve(t)
	status, body := get(t, api, orders+"/providers/microsoft.insights/metrics", url.Values{
		"metricnames": {"requests, Http5xx"}, "aggregation": {"total"}, "interval": {"PT5M"},
		"timespan": {"2026-01-01T11:50:00Z/2026-01-01T12:00:30Z"},
	}, "me")
	var got response
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK {
		t.Fatalf("%d %v %s", status, err, body)
	}
	if len(got.Value) != 2 || got.Interval != "PT5M" || got.Namespace != "Microsoft.Web/sites" || got.Resourceregion != "local" || got.Timespan != "2026-01-01T11:50:00Z/2026-01-01T12:00:30Z" {
		t.Fatalf("%s", body)
	}
	first := got.Value[0]
	if first.ID != orders+"/providers/Microsoft.Insights/metrics/Requests" || first.Type != "Microsoft.Insights/metrics" || first.Unit != "Count" || first.Name.Value != "Requests" || first.ErrorCode != "Success" {
		t.Errorf("%+v", first)
	}
	at := func(h, m int, total float64) point {
		return point{TimeStamp: time.Date(2026, 1, 1, h, m, 0, 0, time.UTC), Total: &total}
	}
	if diff := cmp.Diff([]point{at(11, 50, 10), at(11, 55, 10), at(12, 0, 10)}, first.Timeseries[0].Data); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(at(11, 50, 5), got.Value[1].Timeseries[0].Data[0]); diff != "" {
		t.Error(diff)
	}
	if k := got.Latchkey; len(k.Nodes) != 2 || k.Nodes[0].Name != "one" || k.Nodes[0].Until != nil || k.Nodes[1].Until == nil || !k.Since.Equal(now.Add(-2*time.Hour)) {
		t.Errorf("%+v", k)
	}
}

// TestWhatIsNotKnownHasNoValue: an hour is kept by the minute, and nothing is known
// of before counting began or of what is to come.
func TestWhatIsNotKnownHasNoValue(t *testing.T) {
	api := serve(t)
	for name, c := range map[string]struct {
		query         url.Values
		points, known int
	}{
		"without anything":         {url.Values{}, 61, 61},
		"minutes of two hours":     {url.Values{"timespan": {"PT2H"}}, 121, 61},
		"quarters of a day":        {url.Values{"timespan": {"P1D"}, "interval": {"PT15M"}}, 97, 9},
		"what is to come":          {url.Values{"timespan": {"2026-01-01T12:00:00/2026-01-01T12:10:00"}}, 10, 1},
		"long ago":                 {url.Values{"timespan": {"2025-01-01/2025-01-02"}, "interval": {"PT1H"}}, 24, 0},
		"one value of everything":  {url.Values{"timespan": {"PT2H"}, "interval": {"FULL"}}, 1, 1},
		"a longer interval by far": {url.Values{"timespan": {"P10D"}, "autoadjusttimegrain": {"true"}}, 2881, 13},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := get(t, api, orders+"/providers/Microsoft.Insights/metrics", c.query, "me")
			var got response
			if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK {
				t.Fatalf("%d %v %.300s", status, err, body)
			}
			data, known := got.Value[0].Timeseries[0].Data, 0
			for _, p := range data {
				if p.Total != nil {
					known++
				}
			}
			if len(data) != c.points || known != c.known {
				t.Errorf("%d points, %d known at %s", len(data), known, got.Interval)
			}
		})
	}
}

func TestTimesAreAveraged(t *testing.T) {
	_, body := get(t, serve(t), orders+"/providers/Microsoft.Insights/metrics", url.Values{
		"metricnames": {"HttpResponseTime"}, "aggregation": {"Average,Count,Total"}, "timespan": {"2026-01-01T12:00:00Z/2026-01-01T12:00:30Z"},
	}, "me")
	var got response
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	p := got.Value[0].Timeseries[0].Data[0]
	if *p.Average != 0.03 || *p.Count != 2 || *p.Total != 0.06 || got.Value[0].Unit != "Seconds" {
		t.Errorf("%s", body)
	}
}

func TestQueriesThatCannotBeAnswered(t *testing.T) {
	api := serve(t)
	for name, c := range map[string]struct {
		query url.Values
		says  string
	}{
		"no such metric":                {url.Values{"metricnames": {"Requests,CpuTime"}}, "metric: CpuTime, Valid metrics: Requests,Http101,"},
		"no such interval":              {url.Values{"interval": {"PT3H"}}, "Invalid time grain duration: PT3H, supported ones are: 00:01:00,00:05:00,"},
		"an interval that is none":      {url.Values{"interval": {"soon"}}, "Invalid time grain duration: soon"},
		"an average of counts":          {url.Values{"aggregation": {"Average"}}, "Requests does not support the aggregation"},
		"no such aggregation":           {url.Values{"aggregation": {"Median"}}, "supported ones are: Total,Count"},
		"a dimension":                   {url.Values{"$filter": {"Instance eq '*'"}}, "send no $filter"},
		"another namespace":             {url.Values{"metricnamespace": {"Microsoft.Sql/servers"}}, "'metricnamespace'"},
		"an end before the start":       {url.Values{"timespan": {"2026-01-02T00:00:00Z/2026-01-01T00:00:00Z"}}, "The timespan"},
		"a time that is none":           {url.Values{"timespan": {"yesterday/today"}}, "The timespan"},
		"a duration that is none":       {url.Values{"timespan": {"P"}}, "The timespan"},
		"a duration that is too long":   {url.Values{"timespan": {"P99999D"}}, "The timespan"},
		"too many values":               {url.Values{"timespan": {"P30D"}}, "more than 2880 values at the interval PT1M"},
		"a span that numbers cannot be": {url.Values{"timespan": {"0001-01-01/9999-12-31"}}, "more than 2880 values"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := get(t, api, orders+"/providers/Microsoft.Insights/metrics", c.query, "me")
			var got struct {
				Error struct{ Code, Message string }
			}
			if err := json.Unmarshal(body, &got); err != nil || status != http.StatusBadRequest || got.Error.Code != "BadRequest" || !strings.Contains(got.Error.Message, c.says) {
				t.Errorf("%d %.300s", status, body)
			}
		})
	}
}

func TestOtherResources(t *testing.T) {
	api := serve(t)
	for path, want := range map[string]int{
		subscription + "/resourceGroups/rg/providers/Microsoft.Web/sites/other":      http.StatusNotFound,
		subscription + "/resourceGroups/rg":                                          http.StatusBadRequest,
		subscription + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/safe": http.StatusBadRequest,
	} {
		for _, what := range []string{"metrics", "metricDefinitions", "metricNamespaces"} {
			if status, body := get(t, api, path+"/providers/Microsoft.Insights/"+what, url.Values{}, "me"); status != want {
				t.Errorf("%s of %s: %d %s", what, path, status, body)
			}
		}
	}
	if status, _ := get(t, api, orders+"/providers/Microsoft.Insights/metrics", url.Values{}, "nobody"); status != http.StatusForbidden {
		t.Errorf("without a role: %d", status)
	}
}

func TestDefinitionsSayWhatCanBeAskedFor(t *testing.T) {
	api := serve(t)
	_, body := get(t, api, orders+"/providers/Microsoft.Insights/metricDefinitions", url.Values{}, "me")
	var got struct {
		Value []struct {
			ID, ResourceID, Namespace, Unit, PrimaryAggregationType string
			Name                                                    struct{ Value string }
			SupportedAggregationTypes                               []string
			MetricAvailabilities                                    []struct{ TimeGrain, Retention string }
		}
	}
	if err := json.Unmarshal(body, &got); err != nil || len(got.Value) < 10 {
		t.Fatalf("%v %s", err, body)
	}
	for _, d := range got.Value {
		if d.ResourceID != orders || !strings.EqualFold(d.ID, orders+"/providers/Microsoft.Insights/metricDefinitions/"+d.Name.Value) {
			t.Errorf("%+v", d)
		}
		for _, a := range d.MetricAvailabilities {
			status, body := get(t, api, orders+"/providers/Microsoft.Insights/metrics", url.Values{
				"metricnames": {d.Name.Value}, "interval": {a.TimeGrain}, "aggregation": {strings.Join(d.SupportedAggregationTypes, ",")}, "metricnamespace": {d.Namespace},
			}, "me")
			if status != http.StatusOK {
				t.Errorf("%s by %s: %s", d.Name.Value, a.TimeGrain, body)
			}
		}
	}
}

// FuzzQuery: whatever is asked for is answered or refused.
func FuzzQuery(f *testing.F) {
	f.Add("Requests,Http5xx", "PT5M", "2026-01-01T11:00:00Z/2026-01-01T12:00:00+01:00", "Total")
	f.Add("", "FULL", "P1DT2H", "average")
	f.Add("HttpResponseTime", "P1D", "2026-01-01/9999-01-01", "Count,none")
	f.Fuzz(func(t *testing.T, names, interval, timespan, aggregation string) {
		status, body := get(t, serve(t), orders+"/providers/Microsoft.Insights/metrics", url.Values{
			"metricnames": {names}, "interval": {interval}, "timespan": {timespan}, "aggregation": {aggregation}, "autoadjusttimegrain": {"true"},
		}, "me")
		if status != http.StatusOK && status != http.StatusBadRequest || !json.Valid(body) {
			t.Errorf("%d %.300s", status, body)
		}
	})
}
