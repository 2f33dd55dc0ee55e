package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/latchkey/latchkey/internal/kubeapi"
)

const maxAnswer = 4 << 20 // bytes of an object as JSON, values in base64 included

// Access says how to get to the API server.
type Access = kubeapi.Access

// apiObject is what is used of a Secret or ConfigMap.
type apiObject struct {
	Metadata  metadata          `json:"metadata"`
	Data      map[string]string `json:"data,omitempty"`
	Immutable bool              `json:"immutable,omitempty"`
}

type metadata struct {
	Name            string            `json:"name,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
}

// client makes the calls to the API server.
type client struct {
	cfg Config
	*kubeapi.Client
}

// request is one call.
type request struct {
	method string
	named  bool   // of the object, not of its kind
	path   string // what is called instead of either; "" for none
	query  url.Values
	form   string // of the body
	body   []byte
}

// send makes one call. The caller closes the body of the response; answers that
// are no success are errors.
func (c *client) send(ctx context.Context, r request) (*http.Response, error) {
	if r.path == "" {
		ns, err := c.Namespace()
		if err != nil {
			return nil, err
		}
		r.path = "/api/v1/namespaces/" + ns + "/" + string(c.cfg.Kind)
		if r.named {
			r.path += "/" + c.cfg.Name
		}
	}
	return c.Send(ctx, kubeapi.Request{Method: r.method, Path: r.path, Query: r.query, Form: r.form, Body: r.body})
}

// object makes a call that answers with the object.
func (c *client) object(ctx context.Context, r request) (apiObject, error) {
	ctx, cancel := context.WithTimeout(ctx, kubeapi.Patience)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return apiObject{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return apiObject{}, err
	}
	var o apiObject
	if json.Unmarshal(data, &o) != nil || o.Metadata.Name != c.cfg.Name || o.Metadata.ResourceVersion == "" {
		return apiObject{}, errForeign
	}
	return o, nil
}

// errForeign says that an answer is none of the API server's.
var errForeign = errors.New("the answer is not the object that was asked for")
