package containerapp

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/latchkey/latchkey/internal/containerapp/identityrules"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/resource"
)

// Limits of an app.
const (
	maxName       = 32
	maxRevision   = 54 // of a revision's name, characters
	maxPart       = 63 // of names of containers, rules and volumes
	maxSecretName = 253
	maxReplicas   = 1000
	maxContainers = 50
	maxSecrets    = 500
	maxGrace      = 600 // seconds
)

var (
	appName  = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
	partName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	dotName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	envName  = regexp.MustCompile(`^[^=\x00-\x20][^=\x00]*$`)
)

// CheckName refuses what cannot be the name of a container app.
func CheckName(name string) error {
	if len(name) >= 2 && len(name) <= maxName && appName.MatchString(name) && !strings.Contains(name, "--") {
		return nil
	}
	return Faults{{CodeName, "name", fmt.Sprintf("Invalid ContainerApp name '%s'. A name must consist of lower case alphanumeric characters or '-', "+
		"start with an alphabetic character, and end with an alphanumeric character and cannot have '--'. The length must be 2 to %d characters.", clip(name), maxName)}}
}

// check looks at everything that an app can say wrong by itself.
type check struct {
	faults
	name    string
	block   managed.Block
	secrets map[string]bool
	had     map[string]string // values of secrets that there are
}

// validate finds what is wrong with normalized properties of an app that has an
// identity block and values of secrets. The error is Faults.
func validate(name string, p Properties, block managed.Block, had map[string]string) error {
	c := &check{name: name, block: block, secrets: map[string]bool{}, had: had}
	if id, err := resource.Parse(p.EnvironmentID); err != nil || !strings.EqualFold(id.Type(), EnvironmentType) {
		c.field("environmentId", p.EnvironmentID, "it must be the resource id of a managed environment")
	}
	c.configuration(*p.Configuration)
	if p.Template == nil {
		c.field("template", "", "a container app must have a template")
		return c.err()
	}
	c.template(*p.Template)
	return c.err()
}

// identity checks the name of an identity that a field gives something to use.
func (c *check) identity(field, text string) {
	switch {
	case text == identityrules.System:
		if !c.block.System() {
			c.field(field, text, "the container app has no system-assigned identity: add SystemAssigned to identity.type")
		}
	case c.assigned(text):
	default:
		id, err := resource.Parse(text)
		if err != nil || !strings.EqualFold(id.Type(), managed.UserType) {
			c.field(field, text, "it must be 'system' or the resource id of a user-assigned identity")
			return
		}
		c.field(field, text, "the identity is not assigned to the container app: add it to identity.userAssignedIdentities")
	}
}

func (c *check) assigned(text string) bool {
	for name := range c.block.Assigned {
		if c.block.User() && identityrules.SameIdentity(name, text) {
			return true
		}
	}
	return false
}

func (c *check) configuration(f Configuration) {
	if f.Mode != Single && f.Mode != Multiple {
		c.field("configuration.activeRevisionsMode", string(f.Mode), "it must be Single or Multiple")
	}
	if *f.MaxInactive < 0 || *f.MaxInactive > 100 {
		c.field("configuration.maxInactiveRevisions", fmt.Sprint(*f.MaxInactive), "it must be from 0 to 100")
	}
	c.secretList(f.Secrets)
	seen := map[string]bool{}
	for i, r := range f.Registries {
		c.registry(fmt.Sprintf("configuration.registries[%d]", i), r, seen)
	}
	for i, s := range f.IdentitySettings {
		field := fmt.Sprintf("configuration.identitySettings[%d]", i)
		c.identity(field+".identity", s.Identity)
		if _, ok := identityrules.ParseLifecycle(s.Lifecycle); !ok {
			c.field(field+".lifecycle", s.Lifecycle, "it must be Init, Main, All or None")
		}
		for j := range i {
			if identityrules.SameIdentity(f.IdentitySettings[j].Identity, s.Identity) {
				c.field(field+".identity", s.Identity, "the identity has a setting already")
			}
		}
	}
	if f.Ingress != nil {
		c.ingress(*f.Ingress)
	}
}

func (c *check) secretList(list []Secret) {
	if len(list) > maxSecrets {
		c.add(CodeSecret, "configuration.secrets", fmt.Sprintf("An app has at most %d secrets, not %d.", maxSecrets, len(list)))
		return
	}
	for i, s := range list {
		field := fmt.Sprintf("configuration.secrets[%d]", i)
		invalid := func(why string) {
			c.add(CodeSecret, field, fmt.Sprintf("Invalid Secret: Secret '%s' %s.", clip(s.Name), why))
		}
		switch {
		case len(s.Name) > maxSecretName || !dotName.MatchString(s.Name):
			invalid("must have a name of lower case alphanumeric characters, '-' or '.', that starts and ends with an alphanumeric character")
		case c.secrets[s.Name]:
			invalid("is there twice")
		case s.KeyVaultURL != "" && s.Value != nil:
			invalid("must have either a value or a keyVaultUrl, not both")
		case s.KeyVaultURL != "":
			c.vaultSecret(field, s, invalid)
		case s.Identity != "":
			invalid("has an identity but no keyVaultUrl")
		case s.Value == nil && !has(c.had, s.Name):
			invalid("needs a value, or a keyVaultUrl and an identity")
		}
		c.secrets[s.Name] = true
	}
}

func has(m map[string]string, name string) bool { _, there := m[name]; return there }

func (c *check) vaultSecret(field string, s Secret, invalid func(string)) {
	u, err := url.Parse(s.KeyVaultURL)
	parts := []string{}
	if err == nil {
		parts = strings.Split(strings.Trim(u.Path, "/"), "/")
	}
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || len(parts) < 2 || len(parts) > 3 ||
		!strings.EqualFold(parts[0], "secrets") || parts[1] == "" {
		c.add(CodeSecretURL, field+".keyVaultUrl", fmt.Sprintf("The keyVaultUrl of secret '%s' is invalid: it must be like https://<vault host>/secrets/<name>, with /<version> or without.", clip(s.Name)))
	}
	if s.Identity == "" {
		invalid("has a keyVaultUrl but no identity: say 'system' or the resource id of an identity")
		return
	}
	c.identity(field+".identity", s.Identity)
}

// secretRef checks the name of a secret that something refers to.
func (c *check) secretRef(field, ref, who string) {
	if !c.secrets[ref] {
		c.add(CodeSecretRef, field, fmt.Sprintf("SecretRef '%s' defined for %s not found.", clip(ref), who))
	}
}

func (c *check) registry(field string, r Registry, seen map[string]bool) {
	server := strings.ToLower(r.Server)
	switch {
	case r.Server == "" || strings.ContainsAny(r.Server, "/ @"):
		c.field(field+".server", r.Server, "it must be the host of a registry")
	case seen[server]:
		c.field(field+".server", r.Server, "the registry is there twice")
	}
	seen[server] = true
	switch {
	case r.Identity != "" && (r.Username != "" || r.PasswordSecretRef != ""):
		c.field(field, r.Server, "it must have either an identity, or a username with a passwordSecretRef")
	case strings.EqualFold(r.Identity, "system-environment"):
		c.field(field+".identity", r.Identity, "environments have no identity here: use one of the container app")
	case r.Identity != "":
		c.identity(field+".identity", r.Identity)
	case r.Username != "" && r.PasswordSecretRef == "":
		c.field(field+".passwordSecretRef", "", "a username needs one")
	case r.Username == "" && r.PasswordSecretRef != "":
		c.field(field+".username", "", "a passwordSecretRef needs one")
	}
	if r.PasswordSecretRef != "" {
		c.secretRef(field+".passwordSecretRef", r.PasswordSecretRef, "registry '"+clip(r.Server)+"'")
	}
}

func (c *check) ingress(g Ingress) {
	const field = "configuration.ingress"
	if g.TargetPort < 0 || g.TargetPort > 65535 {
		c.field(field+".targetPort", fmt.Sprint(g.TargetPort), "it must be from 1 to 65535, or 0 to find it out")
	}
	switch g.Transport {
	case "auto", "http", "http2", "tcp":
	default:
		c.field(field+".transport", g.Transport, "it must be auto, http, http2 or tcp")
	}
	if g.ExposedPort < 0 || g.ExposedPort > 65535 || g.ExposedPort > 0 && g.Transport != "tcp" {
		c.field(field+".exposedPort", fmt.Sprint(g.ExposedPort), "it must be from 1 to 65535, with transport tcp only")
	}
	if s := g.StickySessions; s != nil && s.Affinity != "" && spelled(s.Affinity, "none", "sticky") != "none" && spelled(s.Affinity, "none", "sticky") != "sticky" {
		c.field(field+".stickySessions.affinity", s.Affinity, "it must be none or sticky")
	}
	c.traffic(field+".traffic", g.Traffic)
}

func (c *check) traffic(field string, list []Traffic) {
	total, latest, labels, revisions := 0, 0, map[string]bool{}, map[string]bool{}
	for i, t := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		if t.Weight < 0 || t.Weight > 100 {
			c.field(at+".weight", fmt.Sprint(t.Weight), "it must be from 0 to 100")
		}
		total += t.Weight
		switch {
		case t.LatestRevision && t.RevisionName != "":
			c.field(at, t.RevisionName, "it must have either latestRevision or a revisionName")
		case !t.LatestRevision && t.RevisionName == "":
			c.field(at, "", "it must have latestRevision or a revisionName")
		case t.LatestRevision:
			latest++
		case revisions[t.RevisionName] && t.Label == "":
			c.field(at+".revisionName", t.RevisionName, "the revision is there twice")
		}
		revisions[t.RevisionName] = true
		if t.Label == "" {
			continue
		}
		if len(t.Label) > maxPart || !partName.MatchString(t.Label) {
			c.field(at+".label", t.Label, "it must consist of lower case alphanumeric characters or '-'")
		}
		if labels[t.Label] {
			c.field(at+".label", t.Label, "the label is there twice")
		}
		labels[t.Label] = true
	}
	if latest > 1 {
		c.field(field, "", "latestRevision is there twice")
	}
	if total != 100 {
		c.add(CodeTraffic, field, fmt.Sprintf("The weights of '%s' must add up to 100, not %d.", field, total))
	}
}
