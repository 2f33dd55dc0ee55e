package containerapp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// scaled puts an app with one scale rule.
func (f *fixture) scaled(scale string) error {
	_, _, err := f.Put(f.Context(), f.id, "me", containerapp.Spec{Location: "local", Identity: json.RawMessage(`{"type":"SystemAssigned"}`),
		Properties: json.RawMessage(fmt.Sprintf(`{"environmentId":%q,"configuration":{"secrets":[{"name":"store","value":"v"}]},
			"template":{"containers":[{"name":"main","image":"one"}],"scale":%s}}`, f.env, scale))})
	return err
}

func TestScaleRulesThatCannotWorkAreRefused(t *testing.T) {
	const at = "template.scale.rules[0]"
	auth := `"auth":[{"secretRef":"store","triggerParameter":"connection"}]`
	tests := map[string]struct {
		rule  string
		field string // "": it is taken
	}{
		"http":                      {`"http":{"metadata":{"concurrentRequests":"100"}}`, ""},
		"http with no number":       {`"http":{"metadata":{"concurrentRequests":"many"}}`, at + ".http.metadata.concurrentRequests"},
		"tcp":                       {`"tcp":{"metadata":{"concurrentConnections":"5"}}`, ""},
		"tcp with nothing":          {`"tcp":{"metadata":{"concurrentConnections":"0"}}`, at + ".tcp.metadata.concurrentConnections"},
		"two kinds":                 {`"http":{},"tcp":{}`, at},
		"no kind":                   {`"name":"r"`, at},
		"queue by secret":           {`"azureQueue":{"queueName":"q","queueLength":5,` + auth + `}`, ""},
		"queue by identity":         {`"azureQueue":{"queueName":"q","queueLength":5,"accountName":"orders","identity":"system"}`, ""},
		"queue without an account":  {`"azureQueue":{"queueName":"q","queueLength":5,"identity":"system"}`, at + ".azureQueue.accountName"},
		"queue without a way in":    {`"azureQueue":{"queueName":"q","queueLength":5}`, at + ".azureQueue"},
		"queue without a length":    {`"azureQueue":{"queueName":"q",` + auth + `}`, at + ".azureQueue.queueLength"},
		"queue without a name":      {`"azureQueue":{"queueLength":5,` + auth + `}`, at + ".azureQueue.queueName"},
		"a secret there is not":     {`"azureQueue":{"queueName":"q","queueLength":5,"auth":[{"secretRef":"none","triggerParameter":"connection"}]}`, at + ".azureQueue.auth[0].secretRef"},
		"an identity there is not":  {`"custom":{"type":"azure-servicebus","identity":"/subscriptions/5ab5c1b0-0000-4000-8000-000000000000/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/none"}`, at + ".custom.identity"},
		"no type":                   {`"custom":{"metadata":{}}`, at + ".custom.type"},
		"a type of KEDA's":          {`"custom":{"type":"kafka","metadata":{"topic":"t"}}`, ""},
		"cpu":                       {`"custom":{"type":"cpu","metadata":{"type":"Utilization","value":"50"}}`, ""},
		"cpu with no number":        {`"custom":{"type":"cpu","metadata":{"type":"Utilization","value":"half"}}`, at + ".custom.metadata.value"},
		"cpu by another measure":    {`"custom":{"type":"cpu","metadata":{"type":"Value","value":"1"}}`, at + ".custom.metadata.type"},
		"memory":                    {`"custom":{"type":"memory","metadata":{"metricType":"AverageValue","value":"200Mi"}}`, ""},
		"memory without an amount":  {`"custom":{"type":"memory","metadata":{"type":"AverageValue"}}`, at + ".custom.metadata.value"},
		"cron":                      {`"custom":{"type":"cron","metadata":{"timezone":"Europe/Berlin","start":"0 6 * * *","end":"0 20 * * *","desiredReplicas":"3"}}`, ""},
		"cron in no zone":           {`"custom":{"type":"cron","metadata":{"timezone":"Mars","start":"0 6 * * *","end":"0 20 * * *","desiredReplicas":"3"}}`, at + ".custom.metadata.timezone"},
		"cron that never ends":      {`"custom":{"type":"cron","metadata":{"timezone":"UTC","start":"0 6 * * *","end":"0 6 * * *","desiredReplicas":"3"}}`, at + ".custom.metadata.end"},
		"cron with seconds":         {`"custom":{"type":"cron","metadata":{"timezone":"UTC","start":"0 0 6 * * *","end":"0 7 * * *","desiredReplicas":"3"}}`, at + ".custom.metadata.start"},
		"cron for nobody":           {`"custom":{"type":"cron","metadata":{"timezone":"UTC","start":"0 6 * * *","end":"0 7 * * *","desiredReplicas":"0"}}`, at + ".custom.metadata.desiredReplicas"},
		"custom queue":              {`"custom":{"type":"azure-queue","metadata":{"queueName":"q","queueLength":"5"},` + auth + `}`, ""},
		"custom queue by env":       {`"custom":{"type":"azure-queue","metadata":{"queueName":"q","connectionFromEnv":"STORE"}}`, ""},
		"custom queue no way in":    {`"custom":{"type":"azure-queue","metadata":{"queueName":"q"}}`, at + ".custom"},
		"custom queue no account":   {`"custom":{"type":"azure-queue","metadata":{"queueName":"q"},"identity":"system"}`, at + ".custom.metadata.accountName"},
		"custom queue no number":    {`"custom":{"type":"azure-queue","metadata":{"queueName":"q","queueLength":"x"},` + auth + `}`, at + ".custom.metadata.queueLength"},
		"custom queue no threshold": {`"custom":{"type":"azure-queue","metadata":{"queueName":"q","activationQueueLength":"-1"},` + auth + `}`, at + ".custom.metadata.activationQueueLength"},
	}
	f := newFixture(t)
	for name, tt := range tests {
		err := f.scaled(`{"rules":[{"name":"r",` + tt.rule + `}]}`)
		var faults containerapp.Faults
		switch {
		case tt.field == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.field != "" && (!errors.As(err, &faults) || !errors.Is(err, problem.Invalid) || !slices.ContainsFunc(faults, func(one containerapp.Fault) bool { return one.Field == tt.field })):
			t.Errorf("%s: %v names not %s: %+v", name, err, tt.field, faults)
		}
	}
	for scale, field := range map[string]string{
		`{"minReplicas":-1}`:                                       "template.scale.minReplicas",
		`{"minReplicas":5,"maxReplicas":2}`:                        "template.scale.maxReplicas",
		`{"maxReplicas":0}`:                                        "template.scale.maxReplicas",
		`{"cooldownPeriod":-1}`:                                    "template.scale.cooldownPeriod",
		`{"pollingInterval":0}`:                                    "template.scale.pollingInterval",
		`{"rules":[{"name":"Up","http":{}}]}`:                      at + ".name",
		`{"rules":[{"name":"a","http":{}},{"name":"a","tcp":{}}]}`: "template.scale.rules[1].name",
	} {
		var faults containerapp.Faults
		if err := f.scaled(scale); !errors.As(err, &faults) || faults[0].Field != field {
			t.Errorf("%s: %v", scale, err)
		}
	}
}
