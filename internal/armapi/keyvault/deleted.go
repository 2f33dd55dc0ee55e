package keyvault

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
)

// deletedShown is a deleted vault as clients see it.
type deletedShown struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Properties deletedProperties `json:"properties"`
}

type deletedProperties struct {
	VaultID         string            `json:"vaultId"`
	Location        string            `json:"location"`
	Tags            map[string]string `json:"tags"`
	DeletionDate    time.Time         `json:"deletionDate"`
	PurgeDate       time.Time         `json:"scheduledPurgeDate"`
	PurgeProtection bool              `json:"purgeProtectionEnabled,omitempty"` // never false
}

func describeDeleted(d vault.Deleted) deletedShown {
	return deletedShown{d.ID(), d.Vault.Name, vault.DeletedType, deletedProperties{
		VaultID: d.Vault.ID.String(), Location: d.Vault.Location, Tags: tagsOf(d.Vault), DeletionDate: seconds(d.DeletedAt), PurgeDate: seconds(d.PurgeAt),
		PurgeProtection: d.Vault.PurgeProtected,
	}}
}

// seconds leaves fractions away, as the platform does.
func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func (s *Service) listDeleted(c *arm.Call) (arm.Reply, error) {
	after, limit, err := page(c)
	if err != nil {
		return arm.Reply{}, err
	}
	list, next, err := s.cfg.Vaults.Deleted(c.Context(), c.Params["subscription"], after, limit)
	if err != nil {
		return arm.Reply{}, err
	}
	items := make([]deletedShown, len(list))
	for n, d := range list {
		items[n] = describeDeleted(d)
	}
	return arm.List(c, items, next), nil
}

func (s *Service) getDeleted(c *arm.Call) (arm.Reply, error) {
	d, err := s.deleted(c, c.Params["vault"])
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	return arm.OK(describeDeleted(d)), nil
}

func (s *Service) deleted(c *arm.Call, name string) (vault.Deleted, error) {
	return s.cfg.Vaults.GetDeleted(c.Context(), c.Params["subscription"], plainLocation(c.Params["location"]), name)
}

// plainLocation gives a location as it is kept: "West Europe" is "westeurope".
func plainLocation(text string) string { return strings.ToLower(strings.ReplaceAll(text, " ", "")) }

// purge removes a deleted vault for good. It is done when it answers; yet it must
// answer 202 with the address of a status: after a 200 Terraform would ask for the
// vault itself, and fail because it is gone.
func (s *Service) purge(c *arm.Call) (arm.Reply, error) {
	d, err := s.deleted(c, c.Params["vault"])
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	if err := s.cfg.Vaults.Purge(c.Context(), c.Params["subscription"], plainLocation(c.Params["location"]), c.Params["vault"]); err != nil {
		return arm.Reply{}, fault(c, err)
	}
	at := c.BaseURL + "/subscriptions/" + url.PathEscape(c.Params["subscription"]) + namespace + "/locations/" + url.PathEscape(d.Vault.Location) +
		"/operationResults/" + url.PathEscape(d.Vault.Name+nameEnd+d.Vault.UID) + "?api-version=" + url.QueryEscape(c.APIVersion)
	return arm.Accepted(at, nil), nil
}

// nameEnd stands in the name of an operation between those of the vault and of its
// life. No vault has it in its name.
const nameEnd = "."

// purged tells how a purge goes on. Nothing is kept of it: it is over when that
// life of the vault is.
func (s *Service) purged(c *arm.Call) (arm.Reply, error) {
	name, uid, ok := strings.Cut(c.Params["operation"], nameEnd)
	if !ok || vault.CheckName(name) != nil {
		return arm.Reply{}, arm.Faultf(http.StatusNotFound, "OperationNotFound", "There is no operation '%.100s'.", c.Params["operation"])
	}
	d, err := s.deleted(c, name)
	if err != nil && !errors.Is(err, problem.NotFound) {
		return arm.Reply{}, err
	}
	status := "Succeeded"
	if err == nil && d.Vault.UID == uid {
		status = "InProgress"
	}
	return arm.OK(map[string]any{"id": c.Scope.String(), "name": c.Params["operation"], "status": status}), nil
}
