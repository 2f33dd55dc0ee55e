// Package client owns how the portal reaches the management API: calls within this
// process, each with a token of whoever is signed in, so that nothing can be done
// here that cannot be done by API and that roles would not allow. It does not know
// what the calls are about.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// APIVersion is sent where a path names none.
const APIVersion = "2024-11-01"

// maxAnswer is the most bytes of an answer.
const maxAnswer = 16 << 20

// Client calls the API for one principal. It is safe for concurrent use if Token
// is.
type Client struct {
	Transport http.RoundTripper // into this process; see [Within]
	Base      string            // "https://host:port"
	Remote    string            // address of the browser, for the audit record
	// Reads and Writes bound calls in time; 0 does not. A call that is not answered by
	// then is problem.Timeout, whether or not what it asked for is done.
	Reads, Writes time.Duration
	// Token gives a token of the principal.
	Token func(ctx context.Context) (string, error)

	match string // an entity tag; see If
}

// If gives a client whose calls take place only while what they are about has an
// entity tag: the error is one of [Changed] otherwise, and nothing is changed. "" is
// no tag that anything has.
func (c *Client) If(tag string) *Client {
	other := *c
	other.match = `"` + tag + `"`
	return &other
}

// Changed reports whether a call did not take place because what it was about is not
// as it was to be: see [Client.If] and [Client.Create].
func Changed(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && refused.Status == http.StatusPreconditionFailed
}

// Error is a refusal by the API. It matches the problem kind of its status.
type Error struct {
	Status  int
	Code    string
	Message string // for people
	Target  string // the member at fault; "" for most
}

// Error gives the message.
func (e *Error) Error() string { return e.Message }

// kinds of problems by status.
var kinds = map[int]problem.Kind{
	http.StatusBadRequest: problem.Invalid, http.StatusUnauthorized: problem.Unauthenticated, http.StatusForbidden: problem.Denied,
	http.StatusNotFound: problem.NotFound, http.StatusConflict: problem.Conflict, http.StatusPreconditionFailed: problem.Conflict,
	http.StatusServiceUnavailable: problem.Unavailable, http.StatusGatewayTimeout: problem.Timeout, http.StatusTooManyRequests: problem.Unavailable,
}

// Unwrap gives the kind.
func (e *Error) Unwrap() error {
	if kind, known := kinds[e.Status]; known {
		return kind
	}
	if e.Status >= http.StatusBadRequest && e.Status < http.StatusInternalServerError { // it is what was asked
		return problem.Invalid
	}
	return problem.Internal
}

// Get reads path into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.Do(ctx, http.MethodGet, path, nil, out)
}

// Do calls the API: in, if not nil, is sent as JSON, and the answer is decoded into
// out, if not nil. path begins with a slash; it can have a query. Errors are
// *[Error], or that of the token.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	return c.do(ctx, method, path, nil, in, out)
}

// Create is Do of a PUT that makes something and changes nothing that is there:
// problem.Conflict then.
func (c *Client) Create(ctx context.Context, path string, in, out any) error {
	return c.do(ctx, http.MethodPut, path, http.Header{"If-None-Match": {"*"}}, in, out)
}

func (c *Client) do(ctx context.Context, method, path string, header http.Header, in, out any) error {
	ctx, cancel := c.bounded(ctx, method)
	defer cancel()
	r, err := c.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	maps.Copy(r.Header, header)
	if c.match != "" {
		r.Header.Set("If-Match", c.match)
	}
	text, err := c.send(r)
	if err != nil {
		return err
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return problem.Wrap(problem.Internal, "the answer of the management API cannot be read", err)
	}
	return nil
}

// Raw reads path as it is; [ErrTooLarge] if that is over 16 MiB.
func (c *Client) Raw(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := c.bounded(ctx, http.MethodGet)
	defer cancel()
	r, err := c.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return c.send(r)
}

// bounded gives a context that ends when a call has taken too long.
func (c *Client) bounded(ctx context.Context, method string) (context.Context, context.CancelFunc) {
	most := c.Writes
	if method == http.MethodGet {
		most = c.Reads
	}
	if most <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, most)
}

// ErrTooLarge is the error for an answer that is too large to be kept.
var ErrTooLarge = problem.New(problem.TooLarge, "the answer of the management API is too large")

// send gives the body of an answer that is no refusal.
func (c *Client) send(r *http.Request) ([]byte, error) {
	answer, err := c.Transport.RoundTrip(r)
	if errors.Is(err, ErrTooLarge) {
		return nil, err
	}
	if err != nil && errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		return nil, problem.Wrap(problem.Timeout, "there was no answer in time", err)
	}
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "the management API does not answer", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "the answer of the management API broke off", err)
	}
	if answer.StatusCode >= http.StatusInternalServerError && errors.Is(r.Context().Err(), context.DeadlineExceeded) {
		return nil, problem.New(problem.Timeout, "there was no answer in time") // whatever it says of the end of its own time
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return nil, refusal(answer.StatusCode, text)
	}
	return text, nil
}

func (c *Client) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	token, err := c.Token(ctx)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, problem.Wrap(problem.Internal, "the call cannot be written", err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.Base+versioned(path), body)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, "this cannot be asked of the management API", err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.RemoteAddr = c.Remote
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, nil
}

func versioned(path string) string {
	if strings.Contains(path, "api-version=") {
		return path
	}
	if strings.Contains(path, "?") {
		return path + "&api-version=" + APIVersion
	}
	return path + "?api-version=" + APIVersion
}

func refusal(status int, text []byte) error {
	var body struct {
		Error struct {
			Code, Message, Target string
		}
		Code, Message string // the other form
	}
	_ = json.Unmarshal(text, &body) // what is no envelope has nothing to say
	e := &Error{Status: status, Code: body.Error.Code, Message: body.Error.Message, Target: body.Error.Target}
	if e.Message == "" {
		e.Code, e.Message = body.Code, body.Message
	}
	if e.Message == "" {
		e.Message = http.StatusText(status)
	}
	return e
}

// List gets all pages of a list, at most so many items; more says that there are
// others.
func List[T any](ctx context.Context, c *Client, path string, most int) (items []T, more bool, err error) {
	for path != "" {
		var page struct {
			Value []T
			Next  string `json:"nextLink"`
		}
		if err := c.Get(ctx, path, &page); err != nil {
			return nil, false, err
		}
		items = append(items, page.Value...)
		if len(items) >= most {
			return items[:most], len(items) > most || page.Next != "", nil
		}
		path = below(page.Next)
	}
	return items, false, nil
}

// below gives path and query of an address.
func below(address string) string {
	u, err := url.Parse(address)
	if err != nil || address == "" {
		return ""
	}
	return u.RequestURI()
}

// Path joins segments to a path, each escaped: a name cannot lead elsewhere.
func Path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}
