package entra

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"unicode"

	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxBody = 1 << 20 // bytes of an answer
	maxText = 200     // characters of what an answer says
)

// seen is what the transport saw last in a call. The library's errors hold whole
// answers, which may say more than anybody should read, and forget their causes.
type seen struct {
	status  int // of an answer that is an error; 0 for none
	code    string
	text    string
	network error
}

type seenKey struct{}

func observe(ctx context.Context) (context.Context, *seen) {
	s := &seen{}
	return context.WithValue(ctx, seenKey{}, s), s
}

// witness is a transport that notes what goes wrong.
type witness struct{ client *http.Client }

func newWitness(base http.RoundTripper) *witness {
	return &witness{&http.Client{Transport: base, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Do implements policy.Transporter.
func (w *witness) Do(r *http.Request) (*http.Response, error) {
	note, _ := r.Context().Value(seenKey{}).(*seen)
	if note == nil {
		note = &seen{}
	}
	res, err := w.client.Do(r)
	if err != nil {
		*note = seen{network: err}
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	_ = res.Body.Close()
	if err != nil {
		*note = seen{network: err}
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(text))
	*note = seen{}
	if res.StatusCode >= http.StatusMultipleChoices {
		note.status = res.StatusCode
		note.code, note.text = said(text)
	}
	return res, nil
}

var entraCode = regexp.MustCompile(`^(AADSTS\d{1,9}): ?`)

// said gives the code and the first line of an error answer: of Entra's, of the App
// Service's identity endpoint, or of a virtual machine's.
func said(body []byte) (code, text string) {
	var answer struct {
		Error       any    `json:"error"`
		Description string `json:"error_description"`
		Message     string `json:"message"`
	}
	_ = json.Unmarshal(body, &answer) // what is no such answer says nothing
	code, _ = answer.Error.(string)
	text = answer.Description + answer.Message
	if m := entraCode.FindStringSubmatch(text); m != nil {
		code, text = m[1], text[len(m[0]):]
	}
	text, _, _ = strings.Cut(text, "\n")
	text, _, _ = strings.Cut(text, "Trace ID:")
	return clean(code, 40), text
}

func clean(text string, limit int) string {
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text))
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return strings.TrimRight(text, ". ")
}

// fault gives the error for a token that could not be had.
func (c *credential) fault(ctx, call context.Context, s *seen) error {
	switch {
	case s.status != 0:
		return c.refused(s)
	case call.Err() != nil:
		return c.late(ctx)
	case s.network != nil:
		return problem.New(problem.Unavailable, c.peer()+" cannot be reached: "+cause(s.network)).
			WithNext("check the network, the proxy and the trusted certificates of this machine")
	}
	return problem.New(problem.Unavailable, c.peer()+" did not answer as Entra does").
		WithNext("check authorityHost and tenantId of the mapping, and disableInstanceDiscovery for an authority that is not Microsoft's")
}

// late is for a call whose time was up.
func (c *credential) late(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return problem.Wrap(problem.Timeout, "the token of Entra was waited for no longer", err)
	}
	return problem.New(problem.Timeout, fmt.Sprintf("%s gave no token within %s", c.peer(), c.cfg.Timeout))
}

func (c *credential) peer() string {
	switch {
	case c.mapping.Mode == Machine:
		return "the identity endpoint of this machine"
	case c.mapping.AuthorityHost != "":
		return c.mapping.AuthorityHost
	}
	return DefaultAuthorityHost
}

// refused gives the error for an answer. What Entra refuses it will refuse again, so
// that it is never a fault of ours.
func (c *credential) refused(s *seen) error {
	kind := problem.Denied
	switch {
	case s.status == http.StatusTooManyRequests:
		kind = problem.Throttled
	case s.status == http.StatusRequestTimeout:
		kind = problem.Timeout
	case s.status >= http.StatusInternalServerError:
		kind = problem.Unavailable
	case s.code == "AADSTS500011" || s.code == "AADSTS70011" || s.code == "AADSTS500014" || s.code == "AADSTS1002012":
		kind = problem.Invalid // the resource
	}
	message := fmt.Sprintf("%s refuses a token for %q with status %d", c.peer(), c.mapping.Identity, s.status)
	for _, more := range []string{s.code, clean(c.redact(s.text), maxText)} {
		if more != "" {
			message += ": " + more
		}
	}
	return problem.New(kind, message).WithNext(c.advice(s.code))
}

// redact takes out what the mapping proves itself by, should an answer repeat it.
func (c *credential) redact(text string) string {
	if c.mapping.Mode == Machine || len(c.material) == 0 {
		return text
	}
	return strings.ReplaceAll(text, string(c.material), "[secret]")
}

// advice says what to do about codes of Entra.
func (c *credential) advice(code string) string {
	switch code {
	case "AADSTS7000215", "AADSTS7000222":
		return "put a valid client secret of the app into " + c.mapping.SecretFile
	case "AADSTS700027", "AADSTS7000214":
		return "register the certificate of " + c.mapping.CertificateFile + " with the app in Entra"
	case "AADSTS700016", "AADSTS90002", "AADSTS900023":
		return "check clientId and tenantId of the mapping"
	case "AADSTS70021", "AADSTS700211", "AADSTS700212", "AADSTS700213", "AADSTS7002138", "AADSTS700024":
		return "compare issuer, subject, audience and times of the token in " + c.mapping.TokenFile + " with the federated credential in Entra"
	case "AADSTS500011", "AADSTS70011", "AADSTS500014", "AADSTS1002012":
		return "check the resource that the app asks for; its service principal may be missing in the tenant"
	}
	return ""
}

// cause gives the reason of a network error, without the request.
func cause(err error) string {
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &name):
		return "the name " + name.Name + " cannot be resolved"
	case errors.As(err, &certificate):
		return "its certificate is not trusted"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return "the connection failed"
}
