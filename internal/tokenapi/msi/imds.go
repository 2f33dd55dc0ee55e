package msi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/web"
)

// Paths of the IMDS dialect.
const (
	imdsToken   = "/metadata/identity/oauth2/token"
	imdsInfo    = "/metadata/identity/info"
	imdsCompute = "/metadata/instance/compute"
)

// imdsOldest is the oldest version of the IMDS dialect.
const imdsOldest = "2018-02-01"

// Texts of IMDS.
const (
	textNotFound = "Identity not found"
	textSeveral  = "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"
	textMetadata = "Required metadata header not specified"
)

// imds speaks the dialect of virtual machines.
type imds struct{ *service }

// NewIMDS makes the handler for a workload that speaks the dialect of virtual
// machines. It has no secret: whoever reaches it gets tokens, so it belongs to an
// address that only the workload reaches. It answers every path.
func NewIMDS(cfg Config) http.Handler { return imds{newService(cfg)} }

// ServeHTTP answers without ever redirecting.
func (s imds) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := s.begin(w, r)
	path := strings.ToLower(strings.TrimRight(r.URL.Path, "/"))
	err := s.serve(x, path)
	if err != nil {
		s.fail(x, err)
	}
	if path == imdsToken {
		s.OnEvent(x.event)
	}
}

func (s imds) serve(x *exchange, path string) error {
	if path != imdsToken && path != imdsInfo && path != imdsCompute {
		return &fault{status: http.StatusNotFound, code: "not_found", text: "There is nothing at this address."}
	}
	if err := checkIMDS(x); err != nil {
		return err
	}
	q, err := parseQuery(x.r.URL.RawQuery)
	if err != nil {
		return err
	}
	if !knownIMDS(q.version) {
		return bad("The api-version is missing or not supported. Use " + imdsOldest + ".")
	}
	switch path {
	case imdsInfo:
		web.WriteJSON(x.w, http.StatusOK, map[string]string{"tenantId": s.TenantID})
	case imdsCompute:
		web.WriteJSON(x.w, http.StatusOK, map[string]string{"location": s.Location})
	default:
		return s.token(x, q)
	}
	return nil
}

// checkIMDS keeps out requests that somebody was tricked into: pages and proxies
// do not send the header, or say for whom they ask.
func checkIMDS(x *exchange) error {
	h := x.r.Header
	metadata := h["Metadata"]
	switch {
	case x.r.Method != http.MethodGet:
		x.w.Header().Set("Allow", http.MethodGet)
		return &fault{status: http.StatusMethodNotAllowed, code: "method_not_allowed", text: "Metadata is had with GET."}
	case len(h["X-Forwarded-For"]) > 0:
		return bad("Requests with the header X-Forwarded-For are refused")
	case len(metadata) != 1 || !strings.EqualFold(metadata[0], "true"):
		return bad(textMetadata)
	}
	return nil
}

// knownIMDS accepts every date from the oldest version on: clients name many, and
// the token request is the same in all.
func knownIMDS(version string) bool {
	_, err := time.Parse(time.DateOnly, version)
	return err == nil && version >= imdsOldest
}

func (s imds) token(x *exchange, q query) error {
	if q.resource == "" {
		return bad("Required query variable 'resource' is missing")
	}
	t, err := s.give(x, q, chooseIMDS)
	if err != nil {
		return err
	}
	x.event.Granted, x.event.Status = true, http.StatusOK
	web.WriteJSON(x.w, http.StatusOK, s.grantFor(t, q, x.event.Identity.AppID))
	return nil
}

// chooseIMDS gives the identity that is asked for. Without a selector it is the
// workload's own, or the only one there is.
func chooseIMDS(assigned []identity.Assigned, q query) (who identity.Assigned, note string, err error) {
	who, ok := q.find(assigned)
	if !ok && q.by == none && len(assigned) > 1 {
		return who, "", bad(textSeveral)
	}
	if !ok && q.by == none && len(assigned) == 1 {
		who, ok = assigned[0], true
	}
	if !ok || who.Dangling() {
		return who, "", notAssigned(q, who)
	}
	return who, "", nil
}

// imdsGrant is the answer with a token. All values are text.
type imdsGrant struct {
	AccessToken  string `json:"access_token"`
	ClientID     string `json:"client_id"`
	ExpiresIn    string `json:"expires_in"`
	ExpiresOn    string `json:"expires_on"`
	ExtExpiresIn string `json:"ext_expires_in"`
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	TokenType    string `json:"token_type"`
	ObjectID     string `json:"object_id,omitempty"` // these three as asked
	MsiResID     string `json:"msi_res_id,omitempty"`
	MiResID      string `json:"mi_res_id,omitempty"`
}

func (s imds) grantFor(t token.Token, q query, clientID string) imdsGrant {
	left := strconv.FormatInt(int64(max(0, t.Expires.Sub(s.Clock.Now()))/time.Second), 10)
	g := imdsGrant{
		AccessToken: t.Raw, ClientID: clientID, ExpiresIn: left, ExtExpiresIn: left,
		ExpiresOn: epoch(t.Expires), NotBefore: epoch(t.Issued), Resource: q.resource, TokenType: "Bearer",
	}
	switch q.name {
	case "object_id":
		g.ObjectID = q.value
	case "msi_res_id":
		g.MsiResID = q.value
	case "mi_res_id":
		g.MiResID = q.value
	}
	return g
}

// fail answers with an error and completes the event.
func (s imds) fail(x *exchange, err error) {
	f := s.faultFor(x, err, textNotFound)
	x.record(f)
	web.WriteJSON(x.w, f.status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{f.code, f.text})
}

// notAssigned says for operators why there is no identity; the client gets the
// dialect's words.
func notAssigned(q query, who identity.Assigned) error {
	reason := "the workload has no identity of its own"
	switch {
	case who.ResourceID != "":
		reason = "identity " + who.ResourceID + " is assigned, but was deleted"
	case q.by != none:
		reason = "no assigned identity has " + q.selector()
	}
	return &missing{reason}
}
