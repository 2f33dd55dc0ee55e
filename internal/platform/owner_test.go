package platform_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

const ownerRole = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"

// principal makes a principal with a role at a scope ("" as role for none) and
// gives its object id and credential.
func principal(t *testing.T, p *platformtest.Platform, role, scope string) (objectID string, cred armclient.Credential) {
	t.Helper()
	var made struct{ ObjectID, AppID string }
	p.Do(t, http.MethodPost, "/providers/Latchkey.Directory/principals", map[string]any{"name": "p-" + uuid.NewString()[:8]}, &made)
	var secret struct{ Secret string }
	p.Do(t, http.MethodPost, "/providers/Latchkey.Directory/principals/"+made.ObjectID+"/addSecret", map[string]any{}, &secret)
	if role != "" {
		assign(t, p, made.ObjectID, role, scope)
	}
	cred = p.Cred
	cred.ClientID, cred.ClientSecret = made.AppID, secret.Secret
	return made.ObjectID, cred
}

// as gives a client with a credential, for the node as it runs now.
func as(t *testing.T, p *platformtest.Platform, cred armclient.Credential) *armclient.Client {
	t.Helper()
	cred.Endpoint = p.Node.ManagementURL()
	client, err := armclient.New(cred)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func assign(t *testing.T, p *platformtest.Platform, objectID, role, scope string) (id string) {
	t.Helper()
	id = scope + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString()
	p.Do(t, http.MethodPut, id, map[string]any{"properties": map[string]any{"roleDefinitionId": role, "principalId": objectID}}, nil)
	return id
}

// Taking the first owner's rights away is a decision that a restart must not undo.
func TestARestartDoesNotBringAnOwnerBack(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{})
	_, cred := principal(t, p, ownerRole, "")
	other := as(t, p, cred)
	var own struct {
		Value []struct{ ObjectID, AppID string }
	}
	p.Do(t, http.MethodGet, "/providers/Latchkey.Directory/principals?$filter=name%20eq%20'owner'", nil, &own)
	first := "/providers/Latchkey.Directory/principals/" + own.Value[0].ObjectID
	role := "/providers/Microsoft.Authorization/roleAssignments/" + own.Value[0].ObjectID

	if err := other.Do(t.Context(), http.MethodDelete, role, nil, nil); err != nil {
		t.Fatal(err)
	}
	p.Stop(t)
	p.Restart(t)
	if err := p.Client.Do(t.Context(), http.MethodGet, first, nil, nil); err == nil {
		t.Error("the role that was taken away is back")
	}
	other = as(t, p, cred)
	if err := other.Do(t.Context(), http.MethodDelete, first, nil, nil); err != nil {
		t.Fatal(err)
	}
	p.Stop(t)
	p.Restart(t)
	other = as(t, p, cred)
	if err := other.Do(t.Context(), http.MethodGet, first, nil, nil); err == nil {
		t.Error("the owner who was deleted is back")
	}
	p.Stop(t)
	p.Config.NewOwnerCredential = true
	p.Restart(t)
	if err := p.Client.Do(t.Context(), http.MethodGet, first, nil, nil); err != nil {
		t.Error("who runs the machine asked for the owner's credential and did not get it:", err)
	}
}

// A credential of an installation that is gone does not stand in the way of that
// of the new one.
func TestANewInstallationHasAnOwnerInAnOldFolder(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	was := p.Cred.ClientID
	p.Stop(t)
	if err := os.Remove(filepath.Join(p.Config.DataDir, "state.db")); err != nil {
		t.Fatal(err)
	}
	p.Restart(t)
	if p.Cred.ClientID == was {
		t.Fatal("it is the old installation")
	}
	if err := p.Client.SignIn(t.Context()); err != nil {
		t.Error(err)
	}
}
