package msi

import (
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/web"
)

// Path is where tokens are had in the App Service dialect. Case and trailing
// slashes do not count.
const Path = "/msi/token"

// Versions of the App Service dialect.
const (
	version2017 = "2017-09-01"
	version2019 = "2019-08-01"
	versionHost = "1.0" // the functions host's own
)

// Headers with the secret: the first one with versionHost and version2019.
const (
	header2019 = "X-Identity-Header"
	header2017 = "Secret"
)

// localTime is how version2017 writes times.
const localTime = "01/02/2006 15:04:05 +00:00"

// appService speaks the App Service dialect.
type appService struct{ *service }

// New makes the handler for a workload that speaks the App Service dialect. It
// answers every path.
func New(cfg Config) http.Handler { return appService{newService(cfg)} }

// ServeHTTP answers without ever redirecting.
func (s appService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := s.begin(w, r)
	if !strings.EqualFold(strings.TrimRight(r.URL.Path, "/"), Path) {
		s.write(x, &fault{status: http.StatusNotFound, text: "There is nothing at this address. Tokens are at " + Path + "."})
		return
	}
	s.serve(x)
	s.OnEvent(x.event)
}

func (s appService) serve(x *exchange) {
	if x.r.Method != http.MethodGet {
		x.w.Header().Set("Allow", http.MethodGet)
		s.fail(x, &fault{status: http.StatusMethodNotAllowed, text: "Tokens are had with GET."}, "")
		return
	}
	q, err := parseQuery(x.r.URL.RawQuery)
	if !s.proven(x.r, q.version) {
		s.refuse(x, q.version)
		return
	}
	if err == nil {
		err = q.checkAppService()
	}
	var t token.Token
	if err == nil {
		t, err = s.give(x, q, chooseAppService)
	}
	if err != nil {
		s.fail(x, err, s.missing(q.version))
		return
	}
	x.event.Granted, x.event.Status = true, http.StatusOK
	web.WriteJSON(x.w, http.StatusOK, grantFor(t, q, x.event.Identity.AppID))
}

// proven says whether a request has the secret, once, where its version wants it.
// Without a version, both places count: the client is told about the version then.
func (s appService) proven(r *http.Request, version string) bool {
	switch version {
	case version2019, versionHost:
		return s.has(r.Header[header2019])
	case version2017:
		return s.has(r.Header[header2017])
	}
	return s.has(r.Header[header2019]) || s.has(r.Header[header2017])
}

func (s appService) has(values []string) bool {
	return s.Header != "" && len(values) == 1 && subtle.ConstantTimeCompare([]byte(values[0]), []byte(s.Header)) == 1
}

// refuse answers a request without the secret: without a body, but for version2017.
func (s appService) refuse(x *exchange, version string) {
	const reason = "the header with the secret is missing or wrong, or there is more than one"
	if version == version2017 {
		s.fail(x, &fault{status: http.StatusUnauthorized, text: "The secret header is missing or wrong.", reason: reason}, "")
		return
	}
	x.record(&fault{status: http.StatusForbidden, reason: reason})
	x.w.Header().Set("X-CORRELATION-ID", x.correlate())
	x.w.WriteHeader(http.StatusForbidden)
}

func (q query) checkAppService() error {
	switch q.version {
	case version2017, version2019, versionHost:
	case "":
		return bad("The api-version is missing. Use " + version2019 + ".")
	default:
		return bad("The api-version '" + clip(q.version) + "' is not supported. Use " + version2019 + ".")
	}
	if q.resource == "" {
		return bad("The resource is missing.")
	}
	return nil
}

// chooseAppService gives the identity that is asked for. As on the platform,
// version2017 falls back to the workload's own, and a note says so.
func chooseAppService(assigned []identity.Assigned, q query) (who identity.Assigned, note string, err error) {
	who, ok := q.find(assigned)
	if !ok && q.version == version2017 {
		who, ok = query{}.find(assigned)
		note = "no assigned identity is the selected one; api-version " + version2017 + " falls back to the app's own"
	}
	if !ok || who.Dangling() {
		return who, "", notAssigned(q, who)
	}
	return who, note, nil
}

// missing words that there is no such identity.
func (s appService) missing(version string) string {
	old := version == version2017
	switch {
	case s.WindowsErrors && old:
		return "No MSI found for specified ClientId/ResourceId."
	case s.WindowsErrors:
		return "No Managed Identity found for specified ClientId/ResourceId/PrincipalId."
	case old:
		return "Unable to load requested managed identity."
	}
	return "Unable to load the proper Managed Identity."
}

// grant is the answer with a token. All values are text.
type grant struct {
	AccessToken string `json:"access_token"`
	ExpiresOn   string `json:"expires_on"`
	Resource    string `json:"resource"`
	TokenType   string `json:"token_type"`
	ClientID    string `json:"client_id"`
	NotBefore   string `json:"not_before"`
}

func grantFor(t token.Token, q query, clientID string) grant {
	at := epoch
	if q.version == version2017 {
		at = func(t time.Time) string { return t.UTC().Format(localTime) }
	}
	return grant{t.Raw, at(t.Expires), q.resource, "Bearer", clientID, at(t.Issued)}
}

func epoch(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// Error answers, as on Linux and in Container Apps, and as on Windows.
type (
	linuxError struct {
		Status  int    `json:"statusCode"`
		Message string `json:"message"`
		ID      string `json:"correlationId"`
	}
	windowsError struct {
		Status  int    `json:"StatusCode"`
		Message string `json:"Message"`
		ID      string `json:"CorrelationId"`
	}
)

// fail answers with an error and completes the event.
func (s appService) fail(x *exchange, err error, missing string) {
	f := s.faultFor(x, err, missing)
	x.record(f)
	s.write(x, f)
}

func (s appService) write(x *exchange, f *fault) {
	body := linuxError{f.status, f.text, x.correlate()}
	x.w.Header().Set("X-CORRELATION-ID", body.ID)
	if s.WindowsErrors {
		web.WriteJSON(x.w, f.status, windowsError(body))
		return
	}
	web.WriteJSON(x.w, f.status, body)
}
