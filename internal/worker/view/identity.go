package view

import "github.com/latchkey/latchkey/internal/worker"

// The claims that an access key makes.
const (
	keyIdentityType = "WebJobsAuthLevel"
	claimLevel      = "http://schemas.microsoft.com/2017/07/functions/claims/authlevel"
	claimKeyID      = "http://schemas.microsoft.com/2017/07/functions/claims/keyid"
)

// Identities gives the callers of an invocation. The one of the access key is
// made from its name when nobody made it before.
func Identities(inv *worker.Invocation) []worker.Identity {
	known := inv.Identities
	if inv.KeyName != "" && !hasKeyIdentity(known) {
		known = append(known[:len(known):len(known)], keyIdentity(inv))
	}
	return known
}

func hasKeyIdentity(known []worker.Identity) bool {
	for i := range known {
		if known[i].AuthenticationType == keyIdentityType {
			return true
		}
	}
	return false
}

func keyIdentity(inv *worker.Invocation) worker.Identity {
	return worker.Identity{AuthenticationType: keyIdentityType, Claims: []worker.Claim{
		{Type: claimLevel, Value: inv.KeyLevel}, {Type: claimKeyID, Value: inv.KeyName}}}
}
