package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
)

const sub = "11111111-2222-3333-4444-555555555555"

// input is that of a deployment to a resource group.
func input(params map[string]any) Input {
	given := map[string]any{}
	for name, v := range params {
		given[name] = map[string]any{"value": v}
	}
	return Input{
		Parameters: given, Now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), NewGUID: func() string { return "a-guid" },
		Scope: Scope{
			TenantID: "tenant", SubscriptionID: sub, Subscription: map[string]any{"subscriptionId": sub, "id": "/subscriptions/" + sub},
			Group:      map[string]any{"id": "/subscriptions/" + sub + "/resourceGroups/rg", "name": "rg", "location": "local"},
			Deployment: map[string]any{"name": "main"}, Tenant: map[string]any{"tenantId": "tenant"},
			Environment: map[string]any{"suffixes": map[string]any{"storage": "local.test"}},
		},
	}
}

// asked answers references with the id, and lists with action and id.
type asked struct{ calls []string }

func (a *asked) Reference(_ context.Context, id, version string) (map[string]any, error) {
	a.calls = append(a.calls, "GET "+id+" "+version)
	if strings.Contains(id, "/missing") {
		return nil, problem.New(problem.NotFound, "there is no such resource")
	}
	return map[string]any{"id": id, "identity": map[string]any{"principalId": "p"}, "properties": map[string]any{"of": id}}, nil
}

func (a *asked) List(_ context.Context, action, id, version string, body any) (any, error) {
	a.calls = append(a.calls, action+" "+id+" "+version)
	return map[string]any{"key": action + " of " + id, "body": body}, nil
}

func plan(t *testing.T, text string, params map[string]any) *Plan {
	t.Helper()
	p, err := tryPlan(text, params)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryPlan(text string, params map[string]any) (*Plan, error) {
	tpl, err := Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	return tpl.Plan(input(params))
}

// values evaluates expressions as outputs of a template.
func evaluate(expression string, more string) (any, error) {
	quoted, _ := json.Marshal("[" + expression + "]")
	p, err := tryPlan(`{"outputs": {"o": {"type": "object", "value": {"v": `+string(quoted)+`}}}`+more+`}`, nil)
	if err != nil {
		return nil, err
	}
	out, err := p.Outputs(context.Background(), &asked{})
	if err != nil {
		return nil, err
	}
	return out["o"].(map[string]any)["value"].(map[string]any)["v"], nil //nolint:errcheck // it has that form
}

func TestFunctions(t *testing.T) {
	const group = "/subscriptions/" + sub + "/resourceGroups/rg"
	for _, tt := range []struct{ expression, want string }{
		{`concat('it''s', ' ', 'ok')`, `"it's ok"`},
		{`CONCAT('a', 1, true())`, `"a1True"`},
		{`concat(createArray(1), createArray('b'))`, `[1,"b"]`},
		{`format('{0}-{1,4}|{2:D3}|{3:N1}|{{}}', 'a', 'b', 7, 1234)`, `"a-   b|007|1,234.0|{}"`},
		{`add(1, mul(2, sub(10, div(9, 2))))`, `13`},
		{`mod(-7, 3)`, `-1`},
		{`if(equals('a', 'A'), fail('never'), 'no')`, `"no"`},
		{`and(true(), not(false()), or(false(), true()))`, `true`},
		{`and(false(), fail('never'))`, `false`},
		{`coalesce(null(), createObject('a', 1).b, 'x')`, ``},
		{`coalesce(null(), tryGet(createObject('a', 1), 'b'), 'x')`, `"x"`},
		{`createObject('Name', createArray(1, 2)).name[1]`, `2`},
		{`length('äöü')`, `3`},
		{`substring('äöü', 1, 1)`, `"ö"`},
		{`first('abc')`, `"a"`},
		{`last(createArray(1, 2))`, `2`},
		{`take('abc', 5)`, `"abc"`},
		{`skip(createArray(1, 2, 3), 1)`, `[2,3]`},
		{`contains(createObject('A', 1), 'a')`, `true`},
		{`contains('abc', 'B')`, `false`},
		{`indexOf('abcABC', 'C')`, `2`},
		{`lastIndexOf('abcABC', 'c')`, `5`},
		{`startsWith('Hello', 'hE')`, `true`},
		{`endsWith('Hello', 'LO')`, `true`},
		{`replace('a-b-c', '-', '')`, `"abc"`},
		{`split('a,b;c', createArray(',', ';'))`, `["a","b","c"]`},
		{`join(createArray('a', 'b'), '-')`, `"a-b"`},
		{`padLeft('7', 3, '0')`, `"007"`},
		{`toLower(toUpper(trim(' aB ')))`, `"ab"`},
		{`union(createObject('a', createObject('x', 1)), createObject('a', createObject('y', 2)))`, `{"a":{"x":1,"y":2}}`},
		{`union(createArray(1, 2), createArray(2, 3))`, `[1,2,3]`},
		{`intersection(createArray(1, 2, 3), createArray(3, 1), createArray(1, 3))`, `[1,3]`},
		{`range(3, 2)`, `[3,4]`},
		{`max(createArray(1, 5, 2))`, `5`},
		{`min(4, 2)`, `2`},
		{`int('42')`, `42`},
		{`bool('TRUE')`, `true`},
		{`string(createObject('b', 1, 'a', 2))`, `"{\"a\":2,\"b\":1}"`},
		{`json('{"a": [1, 2.5]}').a[1]`, `2.5`},
		{`base64('hé')`, `"aMOp"`},
		{`base64ToString(base64('hé'))`, `"hé"`},
		{`base64ToJson(base64('{"a":1}')).a`, `1`},
		{`uri('http://a/b/c', 'd')`, `"http://a/b/d"`},
		{`uriComponent('a b/c')`, `"a%20b%2Fc"`},
		{`uriComponentToString('a%20b')`, `"a b"`},
		{`dataUriToString(dataUri('x'))`, `"x"`},
		{`items(createObject('b', 1, 'a', 2))[0].key`, `"a"`},
		{`objectKeys(createObject('b', 1, 'a', 2))`, `["a","b"]`},
		{`empty('')`, `true`},
		{`array('a')`, `["a"]`},
		{`flatten(createArray(createArray(1), createArray(2)))`, `[1,2]`},
		{`map(range(0, 3), lambda('i', mul(lambdaVariables('i'), 2)))`, `[0,2,4]`},
		{`filter(range(0, 5), lambda('i', greater(lambdaVariables('i'), 2)))`, `[3,4]`},
		{`reduce(range(1, 4), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))`, `10`},
		{`sort(createArray('b', 'c', 'a'), lambda('x', 'y', less(lambdaVariables('x'), lambdaVariables('y'))))`, `["a","b","c"]`},
		{`toObject(createArray('a'), lambda('k', lambdaVariables('k')), lambda('k', 1))`, `{"a":1}`},
		{`map(createArray(1), lambda('a', map(createArray(2), lambda('b', add(lambdaVariables('a'), lambdaVariables('b'))))))`, `[[3]]`},
		{`dateTimeAdd('2026-01-31T00:00:00Z', 'P1DT2H')`, `"2026-02-01T02:00:00Z"`},
		{`dateTimeToEpoch('1970-01-02')`, `86400`},
		{`dateTimeFromEpoch(86400)`, `"1970-01-02T00:00:00Z"`},
		{`guid('a', 'b')`, `"` + uuid.NewSHA1(uuid.MustParse("11fb06fb-712d-4ddd-98c7-e71bbd588830"), []byte("a-b")).String() + `"`},
		{`resourceId('Microsoft.Web/sites/slots', 'a', 'b')`, `"` + group + `/providers/Microsoft.Web/sites/a/slots/b"`},
		{`resourceId('other', 'Microsoft.Web/sites', 'a')`, `"/subscriptions/` + sub + `/resourceGroups/other/providers/Microsoft.Web/sites/a"`},
		{`subscriptionResourceId('Microsoft.Resources/resourceGroups', 'g')`, `"/subscriptions/` + sub + `/resourceGroups/g"`},
		{`tenantResourceId('A.B/c', 'd')`, `"/providers/A.B/c/d"`},
		{`extensionResourceId(resourceGroup().id, 'A.B/c', 'd')`, `"` + group + `/providers/A.B/c/d"`},
		{`reference('/x/y', '2024-01-01').of`, `"/x/y"`},
		{`reference('/x/y', '2024-01-01', 'Full').identity.principalId`, `"p"`},
		{`listKeys('/x/y/host/default/', '2024-01-01').key`, `"listKeys of /x/y/host/default/"`},
		{`listAccountSas('/x', '2024-01-01', createObject('a', 1)).body.a`, `1`},
		{`environment().suffixes.storage`, `"local.test"`},
		{`my.twice('a')`, `"aa"`},
		{`variables('v')`, `["x0","x1"]`},
	} {
		v, err := evaluate(tt.expression, `, "variables": {"copy": [{"name": "v", "count": 2, "input": "[concat('x', copyIndex('v'))]"}]},
			"functions": [{"namespace": "my", "members": {"twice": {"parameters": [{"name": "p", "type": "string"}],
			"output": {"type": "string", "value": "[concat(parameters('p'), parameters('p'))]"}}}}]`)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s gives %v, not an error", tt.expression, v)
			}
			continue
		}
		got, _ := json.Marshal(v)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s gives %s (%v), not %s", tt.expression, got, err, tt.want)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		params     map[string]any
		kind       problem.Kind
		says       []string
	}{
		{"function", `{"resources": [{"type": "A.B/c", "name": "[nope()]", "apiVersion": "1"}]}`, nil, problem.Invalid, []string{"resources[0].name", `"[nope()]"`, "nope"}},
		{"syntax", `{"variables": {"a": "[concat('x'"}, "outputs": {"o": {"type": "string", "value": "[concat('x']"}}, "resources": [{"type": "[concat('A.B/c']", "name": "n", "apiVersion": "1"}]}`,
			nil, problem.Invalid, []string{"resources[0].type", ", or ) is missing at position 15"}},
		{"required", `{"parameters": {"p": {"type": "string"}}}`, nil, problem.Invalid, []string{"parameters.p", "required"}},
		{"unknown parameter", `{"parameters": {"p": {"type": "string"}}}`, map[string]any{"q": 1}, problem.Invalid, []string{`"q"`, "p"}},
		{"type", `{"parameters": {"p": {"type": "int"}}}`, map[string]any{"p": "x"}, problem.Invalid, []string{"parameters.p", "int", "string"}},
		{"allowed", `{"parameters": {"p": {"type": "string", "allowedValues": ["a", "b"]}}}`, map[string]any{"p": "c"}, problem.Invalid, []string{"parameters.p", `"a","b"`}},
		{"bounds", `{"parameters": {"p": {"type": "string", "minLength": 3}}}`, map[string]any{"p": "c"}, problem.Invalid, []string{"parameters.p", "at least 3"}},
		{"key vault", `{"parameters": {"p": {"type": "securestring"}}}`, nil, problem.Unsupported, []string{"key vault"}},
		{"circle", `{"resources": [{"type": "A.B/c", "name": "x", "apiVersion": "1", "dependsOn": ["y"]}, {"type": "A.B/c", "name": "y", "apiVersion": "1", "dependsOn": ["x"]}]}`,
			nil, problem.Invalid, []string{"circle", "resources[0]", "resources[1]"}},
		{"depends on nothing", `{"resources": [{"type": "A.B/c", "name": "x", "apiVersion": "1", "dependsOn": ["z"]}]}`, nil, problem.Invalid, []string{"resources[0].dependsOn[0]", `"z"`}},
		{"twice", `{"resources": [{"type": "A.B/c", "name": "x", "apiVersion": "1"}, {"type": "a.b/C", "name": "X", "apiVersion": "1"}]}`, nil, problem.Invalid, []string{"resources[1]", "resources[0]"}},
		{"variables in a circle", `{"variables": {"a": "[variables('b')]", "b": "[variables('a')]"}, "resources": [{"type": "A.B/c", "name": "[variables('a')]", "apiVersion": "1"}]}`,
			nil, problem.Invalid, []string{"refers to itself"}},
		{"reference in a variable", `{"variables": {"a": "[reference('x')]"}, "resources": [{"type": "A.B/c", "name": "[variables('a')]", "apiVersion": "1"}]}`, nil, problem.Internal, []string{"variables.a"}},
		{"newGuid elsewhere", `{"resources": [{"type": "A.B/c", "name": "[newGuid()]", "apiVersion": "1"}]}`, nil, problem.Invalid, []string{"default values"}},
		{"linked", `{"resources": [{"type": "Microsoft.Resources/deployments", "name": "n", "apiVersion": "1", "properties": {"templateLink": {"uri": "u"}}}]}`, nil, problem.Unsupported, []string{"linked"}},
		{"names", `{"resources": [{"type": "A.B/c/d", "name": "x", "apiVersion": "1"}]}`, nil, problem.Invalid, []string{"takes 2 names"}},
		{"copies", `{"resources": [{"type": "A.B/c", "name": "x", "apiVersion": "1", "copy": {"name": "l", "count": 801}}]}`, nil, problem.Invalid, []string{"resources[0].copy.count", "800"}},
		{"scope", `{"$schema": "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#"}`, nil, problem.Invalid, []string{"$schema"}},
		{"parameters file", `{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#"}`, nil, problem.Invalid, []string{"file of parameters"}},
		{"no JSON", "{\n\"resources\": [}\n", nil, problem.Invalid, []string{"line 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tpl, err := Parse([]byte(tt.text))
			if err == nil {
				in := input(tt.params)
				if tt.name == "key vault" {
					in.Parameters["p"] = map[string]any{"reference": map[string]any{}}
				}
				_, err = tpl.Plan(in)
			}
			if err == nil {
				t.Fatal("it is taken")
			}
			if tt.kind != problem.Internal && !errors.Is(err, tt.kind) {
				t.Errorf("the kind of %q is %v", err, problem.KindOf(err))
			}
			for _, part := range tt.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func TestRelaxedJSONIsRead(t *testing.T) {
	text := "{\"properties\": {\"mode\": \"Incremental\", template:{ // a comment with \"quotes\"\n \"a\": [1, 2, /* more */ ], \"b\": \"http://x // no comment\", \"c\": \"two\nlines\", }}}"
	strict, err := Relax([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Object(strict)
	if err != nil {
		t.Fatalf("%s: %v", strict, err)
	}
	want := map[string]any{"properties": map[string]any{"mode": "Incremental", "template": map[string]any{
		"a": []any{int64(1), int64(2)}, "b": "http://x // no comment", "c": "two\nlines",
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{`{"a": [,]}`, `{"a" 1}`, `{b: 1}`, `{"a": 1,,}`, `{"a": "x`, `{/* }`} {
		strict, err := Relax([]byte(text))
		if err == nil {
			_, err = Object(strict)
		}
		if err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

// summary shows a plan's resources in their order.
func summary(p *Plan) []string {
	var list []string
	for _, i := range p.Order {
		if res := p.Resources[i]; res.Deploy {
			list = append(list, strings.TrimPrefix(res.ID, "/subscriptions/"+sub+"/resourceGroups/rg/providers/"))
		}
	}
	return list
}

func TestResourcesAreOrdered(t *testing.T) {
	p := plan(t, `{
		"variables": {"names": ["one", "two"]},
		"resources": [
			{"type": "Microsoft.Web/sites", "name": "site", "apiVersion": "2023-12-01", "dependsOn": ["[concat('Microsoft.Web/serverfarms/', 'plan')]", "stores"],
			 "properties": {"key": "[listKeys(resourceId('Microsoft.Storage/storageAccounts', 'account'), '2023-01-01').key]"},
			 "resources": [{"type": "config", "name": "appsettings", "apiVersion": "2023-12-01", "dependsOn": ["site"]}]},
			{"type": "Microsoft.Web/serverfarms", "name": "plan", "apiVersion": "2023-12-01"},
			{"type": "Microsoft.Storage/storageAccounts/blobServices/containers", "name": "[concat('account/default/', variables('names')[copyIndex()])]", "apiVersion": "1",
			 "copy": {"name": "stores", "count": "[length(variables('names'))]", "mode": "serial", "batchSize": 1}},
			{"type": "Microsoft.Storage/storageAccounts", "name": "account", "apiVersion": "1"},
			{"type": "Microsoft.Web/sites/providers/roleAssignments", "name": "site/Microsoft.Authorization/g", "apiVersion": "1", "condition": "[equals(1, 1)]"},
			{"type": "A.B/c", "name": "off", "apiVersion": "1", "condition": false}
		]}`, nil)
	want := []string{
		"Microsoft.Web/serverfarms/plan", "Microsoft.Storage/storageAccounts/account",
		"Microsoft.Storage/storageAccounts/account/blobServices/default/containers/one", "Microsoft.Storage/storageAccounts/account/blobServices/default/containers/two",
		"Microsoft.Web/sites/site", "Microsoft.Web/sites/site/config/appsettings", "Microsoft.Web/sites/site/providers/Microsoft.Authorization/roleAssignments/g",
	}
	if diff := cmp.Diff(want, summary(p)); diff != "" {
		t.Error(diff)
	}
}

func TestSymbolicNames(t *testing.T) {
	p := plan(t, `{"languageVersion": "2.0",
		"definitions": {"name": {"type": "string", "minLength": 2}},
		"parameters": {"n": {"$ref": "#/definitions/name", "defaultValue": "xy"}, "none": {"type": "string", "nullable": true}},
		"resources": {
			"app": {"type": "Microsoft.Web/sites", "name": "[parameters('n')]", "apiVersion": "2023-12-01", "dependsOn": ["stores"],
				"properties": {"copy": [{"name": "list", "count": 2, "input": "[copyIndex('list')]"}], "old": "[reference('old').of]", "first": "[reference('stores[0]').of]",
				"all": "[map(references('stores'), lambda('r', lambdaVariables('r').of))]", "none": "[parameters('none')]"}},
			"old": {"existing": true, "type": "A.B/c", "name": "old", "apiVersion": "2020-01-01"},
			"stores": {"copy": {"name": "stores", "count": 2}, "type": "A.B/s", "name": "[format('s{0}', copyIndex(1))]", "apiVersion": "2"}
		},
		"outputs": {"all": {"type": "array", "copy": {"count": 2, "input": "[reference(format('stores[{0}]', copyIndex())).of]"}}}}`, nil)
	if diff := cmp.Diff([]string{"A.B/s/s1", "A.B/s/s2", "Microsoft.Web/sites/xy"}, summary(p)); diff != "" {
		t.Error(diff)
	}
	rt := &asked{}
	body, err := p.Body(t.Context(), 0, rt)
	if err != nil {
		t.Fatal(err)
	}
	prefix := "/subscriptions/" + sub + "/resourceGroups/rg/providers/A.B/"
	want := map[string]any{"properties": map[string]any{
		"list": []any{int64(0), int64(1)}, "old": prefix + "c/old", "first": prefix + "s/s1", "all": []any{prefix + "s/s1", prefix + "s/s2"}, "none": nil,
	}}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
	out, err := p.Outputs(t.Context(), rt)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"all": map[string]any{"type": "Array", "value": []any{prefix + "s/s1", prefix + "s/s2"}}}, out); diff != "" {
		t.Error(diff)
	}
}

func TestNestedDeployments(t *testing.T) {
	const nested = `{"resources": [{"type": "A.B/c", "name": "[parameters('p')]", "apiVersion": "1", "properties": {"literal": "[[x]"}}]}`
	p := plan(t, `{"parameters": {"p": {"type": "string", "defaultValue": "outer"}}, "resources": [
		{"type": "Microsoft.Resources/deployments", "name": "o", "apiVersion": "2022-09-01", "properties": {"mode": "Incremental", "template": `+nested+`}},
		{"type": "Microsoft.Resources/deployments", "name": "i", "apiVersion": "2022-09-01", "resourceGroup": "other", "properties": {"mode": "Incremental",
			"expressionEvaluationOptions": {"scope": "inner"}, "parameters": {"p": {"value": "[parameters('p')]"}}, "template": `+nested+`}}]}`, nil)
	if id := p.Resources[1].ID; !strings.Contains(id, "/resourceGroups/other/") {
		t.Errorf("the inner one is %s", id)
	}
	outer, err := p.Body(t.Context(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := p.Body(t.Context(), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := func(body map[string]any) map[string]any {
		return body["properties"].(map[string]any)["template"].(map[string]any)["resources"].([]any)[0].(map[string]any) //nolint:errcheck // they have that form
	}
	if o := first(outer); o["name"] != "outer" || o["properties"].(map[string]any)["literal"] != "[[x]" { //nolint:errcheck // it has that form
		t.Errorf("outer: %v", o)
	}
	if i := first(inner); i["name"] != "[parameters('p')]" {
		t.Errorf("inner: %v", i)
	}
	if !p.Flattened(0) || p.Flattened(1) {
		t.Error("which templates have values written into them is not told")
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	const text = `{"parameters": {"s": {"type": "securestring"}, "o": {"type": "secureObject", "defaultValue": {"k": "sesame"}}, "plain": {"type": "string", "defaultValue": "open"}},
		"variables": {"v": "[concat('x', parameters('s'))]", "w": "[parameters('plain')]"},
		"resources": [{"type": "A.B/c", "name": "n", "apiVersion": "1", "properties": {"a": "[variables('v')]", "b": "[parameters('s')]", "c": "[variables('w')]", "d": "[parameters('o').k]", "e": "[reference('/x').of]"}}],
		"outputs": {"o": {"type": "securestring", "value": "[parameters('s')]"}}}`
	p := plan(t, text, map[string]any{"s": "sesame"})
	if _, err := p.Body(t.Context(), 0, &asked{}); err != nil { // its values are not kept for the preview
		t.Fatal(err)
	}
	preview, err := p.Preview(0)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Outputs(t.Context(), &asked{})
	if err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprint(preview, out, p.Parameters()); strings.Contains(all, "sesame") {
		t.Error(all)
	}
	want := map[string]any{"properties": map[string]any{
		"a": "[variables('v')]", "b": "[parameters('s')]", "c": "open", "d": "[parameters('o').k]", "e": "[reference('/x').of]",
	}}
	if diff := cmp.Diff(want, preview); diff != "" {
		t.Error(diff)
	}
}

func TestParameterDefaults(t *testing.T) {
	p := plan(t, `{"parameters": {"a": {"type": "string", "defaultValue": "[newGuid()]"}, "b": {"type": "string", "defaultValue": "[utcNow('yyyy-MM-dd')]"},
		"c": {"type": "string", "defaultValue": "[concat(parameters('a'), '!')]"}, "d": {"type": "string", "defaultValue": "[utcNow()]"}}}`, nil)
	want := map[string]any{}
	for name, v := range map[string]string{"a": "a-guid", "b": "2026-03-04", "c": "a-guid!", "d": "20260304T050607Z"} {
		want[name] = map[string]any{"type": "String", "value": v}
	}
	if diff := cmp.Diff(want, p.Parameters()); diff != "" {
		t.Error(diff)
	}
}

// No template can take long or much memory, whatever it says.
func TestHostileTemplatesEnd(t *testing.T) {
	doubling := func(make string) string {
		vars := []string{`"v0": "[createArray('xxxxxxxxxxxxxxxx')]"`, `"s0": "xxxxxxxxxxxxxxxx"`}
		for i := 1; i < 100; i++ {
			vars = append(vars, fmt.Sprintf(`"v%d": "[%s]"`, i, strings.ReplaceAll(make, "$", fmt.Sprintf("variables('v%d')", i-1))),
				fmt.Sprintf(`"s%d": "[concat(variables('s%d'), variables('s%d'))]"`, i, i-1, i-1))
		}
		return `{"variables": {` + strings.Join(vars, ",") + `}, "outputs": {"o": {"type": "array", "value": "[variables('v99')]"}, "s": {"type": "string", "value": "[variables('s99')]"}}}`
	}
	for name, text := range map[string]string{
		"arrays":   doubling("concat($, $)"),
		"nesting":  doubling("createArray($, $)"),
		"depth":    doubling("createArray($)"),
		"replace":  `{"outputs": {"o": {"type": "string", "value": "[replace(padLeft('', 16000, 'a'), 'a', padLeft('', 16000, 'b'))]"}}}`,
		"reduce":   `{"outputs": {"o": {"type": "string", "value": "[reduce(range(0, 10000), 'x', lambda('a', 'b', concat(lambdaVariables('a'), lambdaVariables('a'))))]"}}}`,
		"loops":    `{"outputs": {"o": {"type": "object", "value": {"copy": [{"name": "a", "count": 800, "input": {"copy": [{"name": "b", "count": 800, "input": {"copy": [{"name": "c", "count": 800, "input": 1}]}}]}}]}}}}`,
		"lambdas":  `{"outputs": {"o": {"type": "array", "value": "[map(range(0, 10000), lambda('a', map(range(0, 10000), lambda('b', 1))))]"}}}`,
		"format":   `{"outputs": {"o": {"type": "string", "value": "[format('` + strings.Repeat("{0}", 5000) + `', padLeft('', 16000, 'a'))]"}}}`,
		"itself":   `{"functions": [{"namespace": "n", "members": {"f": {"output": {"type": "int", "value": "[add(n.f(), n.f())]"}}}}], "outputs": {"o": {"type": "int", "value": "[n.f()]"}}}`,
		"brackets": `{"outputs": {"o": {"type": "string", "value": "[` + strings.Repeat("not(", 8000) + `]"}}}`,
		"levels":   strings.Repeat(`{"a":`, 100000),
	} {
		t.Run(name, func(t *testing.T) {
			p, err := tryPlan(text, nil)
			if err == nil {
				_, err = p.Outputs(t.Context(), &asked{})
			}
			if err == nil {
				t.Error("it is taken")
			}
		})
	}
}

func FuzzTemplates(f *testing.F) {
	f.Add(`{"resources": [{"type": "A.B/c", "name": "[concat('a', copyIndex())]", "apiVersion": "1", "copy": {"name": "l", "count": 2}}], "outputs": {"o": {"type": "string", "value": "[reference('a0').of]"}}}`)
	f.Add(`{"parameters": {"p": {"type": "int", "defaultValue": "[add(1, 2)]"}}, "variables": {"v": ["[parameters('p')]"]}, "outputs": {"o": {"type": "array", "value": "[variables('v')]"}}}`)
	f.Add(`{"languageVersion": "2.0", "resources": {"a": {"existing": true, "type": "A.B/c", "name": "n", "apiVersion": "1"}}}`)
	f.Add(`{template: {"a": "[[b]",}, // c` + "\n}")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := tryPlan(text, nil)
		if err != nil {
			return
		}
		for i := range p.Resources {
			_, _ = p.Body(t.Context(), i, &asked{})
			_, _ = p.Preview(i)
		}
		if out, err := p.Outputs(t.Context(), &asked{}); err == nil {
			if _, err := json.Marshal(out); err != nil {
				t.Errorf("outputs that are no JSON: %v", err)
			}
		}
	})
}

func FuzzExpressions(f *testing.F) {
	for _, text := range []string{"concat('a', 'b')", "a.b('x')[0].c", "if(true(), 1, 2)", "map(range(0, 3), lambda('x', lambdaVariables('x')))", "format('{0:N2}', 1)", "split('a', '')", "substring('a', 0, 9)"} {
		f.Add(text)
	}
	f.Fuzz(func(_ *testing.T, text string) { _, _ = evaluate(text, "") })
}
