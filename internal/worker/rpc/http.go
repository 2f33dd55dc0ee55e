package rpc

import (
	"encoding/json"
	"maps"
	"mime"
	"strings"

	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
	"github.com/latchkey/latchkey/internal/worker/view"
)

// addHTTP adds the request, as the worker wants it, and its binding data.
func addHTTP(r *wire.InvocationRequest, inv *worker.Invocation, caps *capabilities, proxied bool) error {
	cred := view.Find(inv.Request, inv)
	headers := view.Joined(view.Headers(inv.Request, cred))
	query := view.QueryMap(cred, inv.Request.URL.RawQuery)
	request := &wire.RpcHttp{}
	switch {
	case !proxied:
		request = httpOf(inv, cred, headers, query, caps)
	case caps.routeParameters:
		setParams(request, inv, caps)
	}
	value := &wire.TypedData{Data: &wire.TypedData_Http{Http: request}}
	trigger := inv.Function.Trigger()
	r.InputData = append(r.InputData, binding(trigger.Name, value))
	r.TriggerMetadata = map[string]*wire.TypedData{}
	if !caps.noRequest {
		r.TriggerMetadata[trigger.Name] = value
		r.TriggerMetadata["$request"] = value
	}
	return addMetadata(r, requestData(inv, headers, query), caps)
}

// requestData gives the binding data of a request: members of a JSON body, then
// query parameters, then route parameters, a later one replacing an earlier one,
// and the tables of all headers and parameters.
func requestData(inv *worker.Invocation, headers, query map[string]string) map[string]any {
	values := view.BindingData(inv).Values
	for name, v := range values {
		if raw, ok := v.(json.RawMessage); ok {
			values[name] = plainText(raw)
		}
	}
	values["Headers"], values["Query"] = headers, query
	return values
}

// plainText gives a JSON string as text, and any other value as it is.
func plainText(raw json.RawMessage) any {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return raw
}

func httpOf(inv *worker.Invocation, cred view.Credential, headers, query map[string]string, caps *capabilities) *wire.RpcHttp {
	r := inv.Request
	h := &wire.RpcHttp{Method: r.Method, Url: view.Scheme(r) + "://" + r.Host + r.URL.EscapedPath(), Identities: identities(inv)}
	if q := cred.Query(r.URL.RawQuery); q != "" {
		h.Url += "?" + q
	}
	lower := make(map[string]string, len(headers))
	for name, value := range headers {
		lower[strings.ToLower(name)] = value
	}
	if caps.nullable {
		h.NullableHeaders, h.NullableQuery = nullable(lower), nullable(query)
	} else {
		h.Headers, h.Query = lower, withoutEmpty(query)
		if caps.skipEmpty {
			h.Headers = withoutEmpty(lower)
		}
	}
	setParams(h, inv, caps)
	setBody(h, inv, caps)
	return h
}

func setParams(h *wire.RpcHttp, inv *worker.Invocation, caps *capabilities) {
	if caps.nullable {
		h.NullableParams = nullable(inv.RouteParams)
	} else {
		h.Params = inv.RouteParams
	}
}

func nullable(m map[string]string) map[string]*wire.NullableString {
	out := make(map[string]*wire.NullableString, len(m))
	for name, value := range m {
		out[name] = nullableText(value)
	}
	return out
}

func nullableText(s string) *wire.NullableString {
	return &wire.NullableString{String_: &wire.NullableString_Value{Value: s}}
}

func withoutEmpty(m map[string]string) map[string]string {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

// setBody adds the body, in one form or two.
func setBody(h *wire.RpcHttp, inv *worker.Invocation, caps *capabilities) {
	if len(inv.Body) == 0 {
		return
	}
	contentType := inv.Request.Header.Get("Content-Type")
	raw := bodyData(contentType, inv.Body, caps)
	h.Body = raw
	if caps.bodyOnly {
		return
	}
	h.RawBody = raw
	if strings.Contains(strings.ToLower(contentType), "json") && json.Valid(inv.Body) {
		h.Body = jsonData(string(inv.Body))
	}
}

func bodyData(contentType string, body []byte, caps *capabilities) *wire.TypedData {
	kind, _, _ := mime.ParseMediaType(contentType)
	if caps.rawBytes || kind == "application/octet-stream" || strings.HasPrefix(kind, "multipart/") {
		return bytesData(body)
	}
	return textData(strings.ToValidUTF8(string(body), "\uFFFD"))
}

func identities(inv *worker.Invocation) []*wire.RpcClaimsIdentity {
	known := view.Identities(inv)
	list := make([]*wire.RpcClaimsIdentity, len(known))
	for i, id := range known {
		out := &wire.RpcClaimsIdentity{NameClaimType: nullableText(id.NameClaimType), RoleClaimType: nullableText(id.RoleClaimType)}
		if id.AuthenticationType != "" {
			out.AuthenticationType = nullableText(id.AuthenticationType)
		}
		for _, c := range id.Claims {
			out.Claims = append(out.Claims, &wire.RpcClaim{Type: c.Type, Value: c.Value})
		}
		list[i] = out
	}
	return list
}
