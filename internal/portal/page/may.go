package page

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/portal/client"
)

// Bounds of asking what somebody may do.
const (
	mayPatience = 2 * time.Second // for all that one page asks
	mayScopes   = 200             // that one page asks about
)

// May is what whoever is signed in may do at a scope, for pages that leave out what
// would be refused. It decides nothing: the management API does, whatever is shown. Of
// what is not known it says that it is allowed.
type May struct {
	perms []authz.Permission
	known bool
}

// Do reports whether an action of the management API is allowed.
func (m May) Do(action string) bool { return !m.known || authz.Permits(m.perms, action, false) }

// Data reports whether an action on data is.
func (m May) Data(action string) bool { return !m.known || authz.Permits(m.perms, action, true) }

// rights are those that a page has asked about.
type rights struct {
	mu    sync.Mutex
	by    map[string]May // by scope in lower case
	until time.Time      // of the machine's clock; nothing is asked after it
}

// May asks what whoever is signed in may do at a scope, a path of the management API,
// "/" for everything: once for a page, however often it is called, and for no longer than seconds. It is
// safe for concurrent use.
func (v *Visit) May(scope string) May {
	if at := strings.IndexByte(scope, '?'); at >= 0 {
		scope = scope[:at]
	}
	if scope == "" || v.Session.ObjectID == "" {
		return May{}
	}
	scope = strings.TrimSuffix(scope, "/") // of "/" nothing is left, and what is asked is about everything
	v.may.mu.Lock()
	defer v.may.mu.Unlock()
	if v.may.by == nil {
		v.may.by, v.may.until = map[string]May{}, time.Now().Add(mayPatience)
	}
	key := strings.ToLower(scope)
	m, asked := v.may.by[key]
	if !asked && len(v.may.by) < mayScopes && time.Now().Before(v.may.until) {
		m = v.readMay(scope)
		v.may.by[key] = m
	}
	return m
}

// readMay asks the management API.
func (v *Visit) readMay(scope string) May {
	ctx, cancel := context.WithDeadline(v.Context(), v.may.until)
	defer cancel()
	perms, more, err := client.List[authz.Permission](ctx, v.API(), scope+"/providers/Microsoft.Authorization/permissions?api-version=2022-04-01", 1000)
	return May{perms, err == nil && !more}
}

// Lacking gives an action that is not allowed at a scope, noted as by [Visit.Lacks], and
// "" for one that is.
func (v *Visit) Lacking(scope, action string) string {
	if v.May(scope).Do(action) {
		return ""
	}
	v.Lacks(action)
	return action
}

// LackingData is Lacking for an action on data.
func (v *Visit) LackingData(scope, action string) string {
	if v.May(scope).Data(action) {
		return ""
	}
	v.Lacks(action)
	return action
}

// Lacks notes that an action would have shown more of the page, for pages that find
// out by themselves.
func (v *Visit) Lacks(action string) {
	if !slices.Contains(v.missing, action) {
		v.missing = append(v.missing, action)
	}
}
