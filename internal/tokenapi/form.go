package tokenapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bounds of a token request: its bytes, and how long it may take to arrive. Anybody
// may send one.
const (
	maxBody  = 64 << 10
	bodyTime = 20 * time.Second
)

const (
	grantType     = "client_credentials"
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// request is a token request that is well-formed.
type request struct {
	clientID  string
	secret    string // one of secret and assertion is set
	assertion string
	resource  string // v1
	scope     string // v2
}

// readForm reads the parameters of a token request, each of which may be given
// once. Those in the URL do not count: URLs are logged.
func readForm(w http.ResponseWriter, r *http.Request) (map[string]string, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, faultf(90100, "The content type of the request must be application/x-www-form-urlencoded.")
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // where the connection can
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{})
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		f := faultf(90100, "The request body is over the limit of %d bytes.", maxBody)
		f.status = http.StatusRequestEntityTooLarge
		return nil, f
	case err != nil:
		return nil, faultf(90100, "The request body could not be read.")
	}
	return parseForm(string(text))
}

func parseForm(text string) (map[string]string, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, faultf(90100, "The request body is not a well-formed form.")
	}
	form := make(map[string]string, len(values))
	for name, v := range values {
		if len(v) > 1 {
			return nil, faultf(90100, "Parameter '%s' is given more than once.", clip(name))
		}
		form[name] = v[0]
	}
	return form, nil
}

// parseRequest checks the parameters and the Authorization header of a token
// request. It returns what client id it found also with an error.
func parseRequest(form map[string]string, authorization string, v2 bool) (q request, err error) {
	q = request{
		clientID: form["client_id"], secret: form["client_secret"], assertion: form["client_assertion"],
		resource: form["resource"], scope: form["scope"],
	}
	if authorization != "" {
		if err := q.basic(authorization); err != nil {
			return q, err
		}
	}
	needed := "resource"
	if v2 {
		needed = "scope"
	}
	switch {
	case form["grant_type"] == "":
		return q, missingParameter("grant_type")
	case form["grant_type"] != grantType:
		return q, faultf(70003, "The app requested an unsupported grant type '%s'. This service grants %s.", clip(form["grant_type"]), grantType)
	case q.clientID == "":
		return q, missingParameter("client_id")
	case form[needed] == "":
		return q, missingParameter(needed)
	case q.secret != "" && q.assertion != "":
		return q, faultf(90100, "The client must authenticate in one way: by client_secret or by client_assertion.")
	case q.secret == "" && q.assertion == "":
		return q, faultf(7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	case q.assertion != "" && form["client_assertion_type"] != assertionType:
		return q, faultf(90100, "Parameter 'client_assertion_type' must be %s.", assertionType)
	}
	return q, nil
}

func missingParameter(name string) error {
	return faultf(900144, "The request body must contain the following parameter: '%s'.", name)
}

// basic takes client id and secret from an Authorization header, where both are
// encoded as in a form (RFC 6749, section 2.3.1).
func (q *request) basic(authorization string) error {
	r := http.Request{Header: http.Header{"Authorization": {authorization}}}
	user, password, ok := r.BasicAuth()
	id, errID := url.QueryUnescape(user)
	secret, errSecret := url.QueryUnescape(password)
	switch {
	case !ok || errID != nil || errSecret != nil || id == "" || secret == "":
		return faultf(90100, "The Authorization header is not well-formed Basic authentication.")
	case q.secret != "" || q.assertion != "":
		return faultf(90100, "The client must authenticate in one way: in the Authorization header or in the body.")
	case q.clientID != "" && !strings.EqualFold(q.clientID, id):
		return faultf(90100, "The client_id in the body is not that of the Authorization header.")
	}
	q.clientID, q.secret = id, secret
	return nil
}
