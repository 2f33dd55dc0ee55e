package vaultapi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

// guarded serves the request; a panic becomes an error.
func (x *exchange) guarded() (re reply, err error) {
	defer func() {
		if v := recover(); v != nil {
			x.Log.Error("vault: a handler panicked", "request", x.event.RequestID, "stack", string(debug.Stack()))
			re, err = reply{}, errPanic
		}
	}()
	return x.serve()
}

// serve finds out what is asked for and does it. Who asks is found out before
// anything else is told: the first request of a client has neither token nor
// body, and must be answered with the challenge whatever else is wrong with it.
func (x *exchange) serve() (reply, error) {
	name, ok := x.Name(x.r.Host)
	if !ok || !plainHost(x.r.Host) {
		return reply{}, noVault(x.r.Host)
	}
	x.event.Vault = name
	noTarget := x.aim()
	vaultErr := x.find()
	if err := x.authenticate(); err != nil {
		return reply{}, err
	}
	if vaultErr != nil {
		return reply{}, vaultErr
	}
	x.field("X-Ms-Keyvault-Region", x.vault.Location)
	if wait := x.throttle.wait(x.vault.UID, x.event.Time); wait > 0 {
		return reply{}, tooMany(wait)
	}
	if noTarget != nil {
		return reply{}, noTarget
	}
	return x.use()
}

// aim finds out what the path means, for the record already; its error is told
// only to those who have a token.
func (x *exchange) aim() error {
	t, err := resolve(x.r.Method, x.r.URL)
	x.target = t
	if t.endpoint.served() {
		x.event.Operation, x.event.Action = known[t.endpoint].name, known[t.endpoint].op.Action()
	}
	x.event.Secret, x.event.Version = t.name, t.version
	return err
}

// find looks the vault up, as it is now.
func (x *exchange) find() (err error) {
	x.vault, err = x.Vaults.ByName(x.event.Vault)
	if errors.Is(err, problem.NotFound) {
		return noVault(x.event.Vault)
	}
	if err == nil {
		x.event.VaultID = x.vault.ID.String()
	}
	return err
}

func (x *exchange) authenticate() error {
	if x.r.Header.Get("Authorization") == "" {
		x.event.Challenge = true
		return noToken()
	}
	resource := x.Resource(x.r.Host)
	caller, err := x.Authenticate(x.r.Context(), x.r, resource)
	if errors.Is(err, problem.Unauthenticated) {
		return refusal(err, resource, x.vault.TenantID)
	}
	if err != nil {
		return err
	}
	caller.Address = x.event.Source
	x.event.Caller = caller
	return nil
}

// use does what the request asks for, if the caller may.
func (x *exchange) use() (re reply, err error) {
	switch x.target.endpoint {
	case contacts:
		return reply{}, noContacts()
	case foreign:
		return reply{}, notSupported()
	}
	if x.query, err = readQuery(x.r.URL.RawQuery); err != nil {
		return reply{}, err
	}
	if err := x.Fault(x.r.Context(), x.vault, known[x.target.endpoint].op); err != nil {
		return reply{}, err
	}
	if err := x.check(); err != nil {
		return reply{}, err
	}
	if !x.target.endpoint.takesBody() {
		return x.operate()
	}
	return x.useBody()
}

func (x *exchange) check() error {
	grant, err := x.Vaults.Check(x.r.Context(), x.vault, x.event.Caller, known[x.target.endpoint].op, x.target.name)
	if err != nil {
		return err
	}
	x.event.Assignment = grant.Assignment
	if grant.Assignment != "" {
		x.field("X-Ms-Keyvault-Rbac-Assignment-Id", assignmentID(grant.Assignment))
	}
	return nil
}

// useBody is use for requests with a body. While that arrives the caller can lose
// the right to send it, so that everything is asked again afterwards.
func (x *exchange) useBody() (reply, error) {
	if x.target.endpoint == restoreSecret {
		select {
		case x.restores <- struct{}{}:
			defer func() { <-x.restores }()
		case <-x.r.Context().Done():
			return reply{}, x.r.Context().Err()
		}
	}
	body, err := x.readBody()
	if err != nil {
		return reply{}, err
	}
	for _, again := range []func() error{x.authenticate, x.find, x.check} {
		if err := again(); err != nil {
			return reply{}, err
		}
	}
	m, err := readObject(body, "")
	if err != nil {
		return reply{}, err
	}
	switch x.target.endpoint {
	case setSecret:
		return x.set(m)
	case updateSecret:
		return x.update(m)
	default:
		return x.restore(m)
	}
}

// Limits of bodies, in bytes. A value can take six times its size when a client
// escapes every character of it.
const (
	maxBody    = 256 << 10
	maxRestore = secrets.MaxBlob + 1<<10
)

func (x *exchange) readBody() ([]byte, error) {
	limit := int64(maxBody)
	if x.target.endpoint == restoreSecret {
		limit = maxRestore
	}
	if x.r.ContentLength > limit {
		x.w.Header().Set("Connection", "close")
		return nil, tooLarge(limit)
	}
	x.arriveUntil(time.Now().Add(x.BodyTime)) // connections know the system's time only
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, limit))
	x.arriveUntil(time.Time{})
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &fault{status: http.StatusRequestTimeout, code: "RequestTimeout", message: "The request body took too long to arrive."}
	case err != nil && x.r.Context().Err() != nil:
		return nil, x.r.Context().Err()
	case err != nil:
		return nil, badParameter("The request body could not be read to its end.")
	}
	return body, nil
}

// arriveUntil bounds how long reading from the client may take; the zero time is
// for ever. Where the connection cannot do that, the server's own limits hold.
func (x *exchange) arriveUntil(t time.Time) {
	_ = http.NewResponseController(x.w).SetReadDeadline(t)
}

// assignmentID gives the GUID at the end of an assignment's resource id.
func assignmentID(id string) string {
	return id[strings.LastIndexByte(id, '/')+1:]
}

// plainHost says whether a host name can be put into links and header fields.
func plainHost(host string) bool {
	for i := range len(host) {
		c := host[i]
		if !(c == '-' || c == '.' || c == ':' || c == '[' || c == ']' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			return false
		}
	}
	return host != ""
}
