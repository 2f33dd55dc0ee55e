package expression_test

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/expression"
	"github.com/latchkey/latchkey/internal/worker"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 678000000, time.UTC)

func ofQueue() *worker.Invocation {
	return &worker.Invocation{
		Function: &funcapp.Function{Name: "Orders", Bindings: []funcapp.Binding{{Name: "item", Type: "queueTrigger"}}},
		Input:    `{"region":"eu"}`,
		Metadata: map[string]any{
			"QueueTrigger": `{"region":"eu"}`, "DequeueCount": int64(3), "InsertionTime": now, "region": "eu",
			"customer": json.RawMessage(`{"Id": 7, "name": {"first": "Ada"}, "vip": true, "since": "2020-05-06T07:08:09Z", "tags": [1], "none": null}`),
		},
	}
}

func ofRequest() *worker.Invocation {
	r := httptest.NewRequest("POST", "/api/orders/42?region=us&id=9&code=secret", nil)
	r.Header.Set("X-Tenant.Name", "acme")
	r.Header.Set("X-Functions-Key", "secret")
	return &worker.Invocation{
		Function: &funcapp.Function{Name: "Orders", Bindings: []funcapp.Binding{{Name: "req", Type: "httpTrigger"}}},
		Request:  r, RouteParams: map[string]string{"id": "42"}, Body: []byte(`{"region": "eu", "kind": "book", "code": "body"}`),
	}
}

func TestExpressionsStandForData(t *testing.T) {
	tests := map[string]struct {
		inv  *worker.Invocation
		text string
		want string // a regular expression
	}{
		"none":                  {ofQueue(), "orders", "orders"},
		"the message":           {ofQueue(), "{queueTrigger}", `\{"region":"eu"\}`},
		"into the message":      {ofQueue(), "{queueTrigger.region}", "eu"},
		"by the binding":        {ofQueue(), "{item.region}", "eu"},
		"a number":              {ofQueue(), "x-{dequeueCount}", "x-3"},
		"deep":                  {ofQueue(), "{customer.id}-{CUSTOMER.name.first}", "7-Ada"},
		"truth":                 {ofQueue(), "{customer.vip}", "True"},
		"a date":                {ofQueue(), "{insertionTime}", "2030-01-02T03:04:05.678Z"},
		"a formatted date":      {ofQueue(), "{insertionTime:yyyyMMdd}/{customer.since:HH-mm}", "20300102/07-08"},
		"an id":                 {ofQueue(), "{rand-guid}", "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"},
		"a short id":            {ofQueue(), "{sys.randguid:N}", "[0-9a-f]{32}"},
		"now":                   {ofQueue(), "{datetime}", "2030-01-02T03-04-05Z"},
		"now, formatted":        {ofQueue(), "{DateTime:yyyy-MM-dd HH.mm.ss.fff}", "2030-01-02 03.04.05.678"},
		"now, in full":          {ofQueue(), "{sys.utcnow}", "2030-01-02T03:04:05.678Z"},
		"the function":          {ofQueue(), "{sys.methodname}", "Orders"},
		"route before query":    {ofRequest(), "{id}", "42"},
		"the query":             {ofRequest(), "{query.id}", "9"},
		"query before body":     {ofRequest(), "{region}", "us"},
		"the body":              {ofRequest(), "{kind}", "book"},
		"a header":              {ofRequest(), "{headers.x-tenant.name}", "acme"},
		"code is not the key's": {ofRequest(), "{code}", "body"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			template, err := expression.Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := template.Expand(expression.Of(tt.inv, now))
			if err != nil || !regexp.MustCompile("^("+tt.want+")$").MatchString(got) {
				t.Errorf("%q %v", got, err)
			}
			if template.Constant() != !strings.Contains(tt.text, "{") || template.String() != tt.text {
				t.Error(template)
			}
		})
	}
}

func TestExpressionsThatStandForNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		inv  *worker.Invocation
		text string
	}{
		"unknown":          {ofQueue(), "{nothing}"},
		"no such member":   {ofQueue(), "{customer.age}"},
		"into a number":    {ofQueue(), "{dequeueCount.x}"},
		"an object":        {ofQueue(), "{customer}"},
		"a list":           {ofQueue(), "{customer.tags}"},
		"null":             {ofQueue(), "{customer.none}"},
		"no time":          {ofQueue(), "{region:yyyy}"},
		"the key":          {ofRequest(), "{headers.x-functions-key}"},
		"the key, in code": {ofRequest(), "{query.code}"},
	} {
		t.Run(name, func(t *testing.T) {
			template, err := expression.Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := template.Expand(expression.Of(tt.inv, now))
			if !errors.Is(err, problem.Invalid) || got != "" || problem.NextOf(err) == "" {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

func TestAKeyInTheAddressOfThePageBeforeIsNotData(t *testing.T) {
	inv := ofRequest()
	inv.Request.Header.Set("X-Functions-Key", "a-key-of-no-known-format")
	inv.Request.Header.Set("Referer", "https://shop.example/api/page?code=a-key-of-no-known-format&a=1")
	inv.StripKey = true
	template, err := expression.Parse("{headers.referer}")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := template.Expand(expression.Of(inv, now)); err != nil || got != "https://shop.example/api/page?a=1" {
		t.Errorf("%q %v", got, err)
	}
}

func TestTemplatesThatCannotBe(t *testing.T) {
	for _, text := range []string{"{", "}", "a}b", "{a", "{{a}}", "{}", "{ }", "{:N}", "{a..b}", "{.a}", "{rand-guid:X}", "{datetime:qqq}"} {
		if _, err := expression.Parse(text); !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("orders-{region}", `{"region": "eu"}`)
	f.Add("{queueTrigger.a.b:yyyy}", `{"a": {"b": "2020-01-01T00:00:00Z"}}`)
	f.Fuzz(func(t *testing.T, text, message string) {
		template, err := expression.Parse(text)
		if err != nil {
			return
		}
		inv := ofQueue()
		inv.Metadata["QueueTrigger"] = message
		got, err := template.Expand(expression.Of(inv, now))
		if err == nil && template.Constant() && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}
