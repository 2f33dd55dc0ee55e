// Package arm owns what every management API call shares: finding the operation
// for a method and path without regard to case and without ever redirecting, who
// calls, whether they may, the api-version, headers, error envelopes, paging and
// the audit record. Packages beside it serve the providers; this one knows no
// resource type.
package arm

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/token"
)

// Caller is who makes a call, as the token says.
type Caller struct {
	ObjectID string // oid: what roles are assigned to
	AppID    string // appid
	TenantID string
	Name     string   // for people; may be empty
	Groups   []string // object ids of groups
	Token    Token
}

// Token is what is known of the token a caller came with.
type Token struct {
	Method          token.Method // how they had proved who they are; "" if it does not say
	Issued, Expires time.Time
}

// Call is one management API call.
type Call struct {
	HTTP       *http.Request
	Caller     Caller
	Scope      resource.ID // the resource the call is about; for an action what it acts on
	Params     Params      // by name in the pattern, spelled as sent
	APIVersion string
	Query      url.Values // names in lower case
	BaseURL    string     // "https://host:port" as the client reached us, for absolute links

	Pattern       string // of the operation
	CorrelationID string // of this request, as audit and log have it
	writer        http.ResponseWriter
	body          []byte
	bodyErr       error
	bodyRead      bool
	bodyTime      time.Duration
	recheck       func() error // fails if the call would not be admitted now
}

// Params are the variable parts of a path, decoded once. "scope" is the id that a
// leading {scope} stands for, "/" for the root. A parameter in the operation's
// scope never has a slash; others can.
type Params map[string]string

// Context ends when the client is gone.
func (c *Call) Context() context.Context { return c.HTTP.Context() }

// Reply is what a call answers.
type Reply struct {
	Status int // 0 is 200
	Body   any // encoded as JSON; nil is an empty body; see also Raw
	Header http.Header
	ETag   string // without quotes; "" for none
	Raw    []byte // with RawType instead of Body
	// RawType is the content type of Raw.
	RawType string
	// Stream writes the body instead, as RawType. When it fails the connection is
	// broken off, so that nobody takes a part for the whole.
	Stream func(io.Writer) error
}

// Handler serves an operation. Errors become the error envelope (see [Fault]).
type Handler func(*Call) (Reply, error)

// Operation is one entry of the router.
type Operation struct {
	Method string
	// Pattern is a path with {parameters}, such as
	// "/subscriptions/{sub}/resourceGroups/{group}/providers/Microsoft.Web/sites/{site}/config/appsettings/list".
	// A leading "{scope}" stands for any resource id, also the root. HEAD is served
	// by GET: 204 instead of 200, and no body.
	Pattern string
	// Action is the authorisation action. "" derives it: namespace and types of the
	// pattern, then read, write, delete, or the last segment and "action" for POST.
	// [Open] needs a valid token only, [Public] not even that.
	Action string
	// Scope is how many leading segments of the path are the scope that the action
	// is checked at, {scope} counting as one; 0 derives it: the longest id that ends
	// at the last parameter or before it.
	Scope   int
	Handler Handler
	// Secret says that the answer has secrets: the read is audited, and nothing is
	// answered if it cannot be.
	Secret bool
	// Reads says that a POST changes nothing. It is derived for the actions whose
	// names begin with list, check, validate or whatif.
	Reads bool
}

// Actions that are no actions.
const (
	Open   = "(token)"
	Public = "(public)"
)

// Provider is a resource provider as the providers operations show it.
type Provider struct {
	Namespace string // "Microsoft.Web"
	Types     []ProviderType
}

// ProviderType is one type of a provider.
type ProviderType struct {
	Name         string   // without the namespace: "sites/functions"
	APIVersions  []string // newest first
	Capabilities string   // "" is "None"
}

// Authorizer decides what callers may do.
type Authorizer interface {
	Allow(ctx context.Context, r authz.Request) (authz.Decision, error)
}
