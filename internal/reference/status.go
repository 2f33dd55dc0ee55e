package reference

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/keyref"
	"github.com/latchkey/latchkey/internal/problem"
)

// Status says how resolving a reference went, in the platform's words.
type Status string

// Statuses.
const (
	Initialized           Status = "Initialized" // not attempted yet
	Resolved              Status = "Resolved"
	InvalidSyntax         Status = "InvalidSyntax"
	MSINotEnabled         Status = "MSINotEnabled" // the app has no identity to read with
	VaultNotFound         Status = "VaultNotFound"
	SecretNotFound        Status = "SecretNotFound"
	SecretVersionNotFound Status = "SecretVersionNotFound"
	AccessDenied          Status = "AccessToKeyVaultDenied" // by policy, role or network
	FetchTimedOut         Status = "FetchTimedOut"
	UnauthorizedClient    Status = "UnauthorizedClient" // no token for the identity
	OtherReasons          Status = "OtherReasons"
)

// details are the platform's texts of statuses.
var details = map[Status]string{
	Resolved:              "Reference has been successfully resolved.",
	InvalidSyntax:         "Reference was not able to be resolved because of invalid syntax.",
	MSINotEnabled:         "Reference was not able to be resolved because site Managed Identity not enabled.",
	VaultNotFound:         "Key Vault reference was not able to be resolved because vault was not found.",
	SecretNotFound:        "Key Vault reference was not able to be resolved because secret was not found.",
	SecretVersionNotFound: "Key Vault reference was not able to be resolved because secret version was not found.",
	AccessDenied:          "Key Vault reference was not able to be resolved because site was denied access to Key Vault reference's vault.",
	FetchTimedOut:         "Key Vault reference was not able to be resolved because fetching it timed out.",
	UnauthorizedClient:    "Key Vault reference was not able to be resolved because site's identity was refused a token.",
	OtherReasons:          "Reference was not able to be resolved.",
}

// Details gives the platform's text of a status; "" for Initialized.
func (s Status) Details() string { return details[s] }

// Failure is why a secret was not read.
type Failure struct {
	Status     Status
	HTTPStatus int    // of the vault's answer; 0 if there was none
	InnerCode  string // of the vault's answer, such as "ForbiddenByPolicy"; may be empty
	Message    string // for people; never contains a secret
}

// Error gives the message.
func (f *Failure) Error() string { return f.Message }

// byKind are the statuses of failures that have only a kind.
var byKind = map[problem.Kind]Status{
	problem.Denied: AccessDenied, problem.Unauthenticated: UnauthorizedClient, problem.NotFound: SecretNotFound, problem.Timeout: FetchTimedOut,
}

// failureOf gives the failure that an error of a source stands for.
func failureOf(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		if f.Status == "" || f.Status == Resolved || f.Status == Initialized {
			return &Failure{OtherReasons, f.HTTPStatus, f.InnerCode, f.Message}
		}
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Failure{Status: FetchTimedOut, Message: "the vault did not answer in time"}
	}
	status := OtherReasons
	if s, known := byKind[problem.KindOf(err)]; known {
		status = s
	}
	message := err.Error()
	if next := problem.NextOf(err); next != "" {
		message += "; " + next
	}
	return &Failure{Status: status, Message: message}
}

// Identity is the identity that a reference was read with.
type Identity struct {
	Type        string `json:"type"` // "SystemAssigned" or "UserAssigned"
	ResourceID  string `json:"resourceId,omitempty"`
	PrincipalID string `json:"principalId,omitempty"`
}

func identityOf(a identity.Assigned) Identity {
	if a.System {
		return Identity{"SystemAssigned", a.ResourceID, a.ObjectID}
	}
	return Identity{"UserAssigned", a.ResourceID, a.ObjectID}
}

// Report says how a reference stands.
type Report struct {
	Section     app.Section
	Setting     string
	Ref         keyref.Ref
	Status      Status
	Details     string // the platform's text
	Why         string // the real reason of a failure, for people
	HTTPStatus  int
	InnerCode   string
	Identity    Identity // that was used last; only its type before the first attempt
	Version     string   // of the value that is in use; "" for none
	Stale       bool     // the value in use is an older one, since refreshing it fails
	Since       time.Time
	GoodSince   time.Time // since when there is the value in use; zero for none
	LastAttempt time.Time // may lag on nodes that do not refresh; zero for none
	NextRefresh time.Time // zero for never or when another node knows
	Expires     time.Time // of the secret; zero for never
	History     []Change  // at most [MaxChanges], the newest first
}

// Event is a change of a reference's status or of the version in use.
type Event struct {
	App        app.App
	Section    app.Section
	Setting    string
	Vault      string
	Secret     string
	From, To   Status
	Why        string // the real reason of a failure
	HTTPStatus int
	InnerCode  string
	Identity   Identity
	Version    string // in use now
	NewVersion bool   // the value in use changed
	Stale      bool
	Time       time.Time
}

// Problem is a reference that failed.
type Problem struct {
	Section app.Section
	Setting string
	Status  Status
	Why     string
	Stale   bool // an older value is used; else the literal text
}

// String says it in words.
func (p Problem) String() string {
	use := "the literal text is used"
	if p.Stale {
		use = "the last good value is used"
	}
	return fmt.Sprintf("%s %q: %s (%s); %s", p.Section, p.Setting, p.Status, p.Why, use)
}

// Values are the settings of an app with references replaced.
type Values struct {
	Settings    map[string]string
	Connections map[string]app.Connection
	Unresolved  []Problem // in order of sections and names
}

// Summary is the references of one app in figures.
type Summary struct {
	App       app.App
	Reports   []Report // of both sections, in order of sections and names
	Failing   int      // not Resolved
	Stale     int      // of them, with an older value
	Valueless int      // of them, without any value
}

// refused reports whether a change of permissions, identities or vaults can heal a
// reference.
func (s Status) refused() bool {
	switch s {
	case MSINotEnabled, VaultNotFound, AccessDenied, UnauthorizedClient:
		return true
	}
	return false
}
