package resources

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

const groupType = "Microsoft.Resources/resourceGroups"

// readGroups is the action that roles name for reading a group.
const readGroups = "Microsoft.Resources/subscriptions/resourceGroups/read"

// groupState is what is kept of a group besides what all resources have.
type groupState struct {
	ManagedBy string `json:"managedBy,omitempty"`
}

func stateOf(r inventory.Resource) (s groupState) {
	if len(r.Private) > 0 {
		_ = json.Unmarshal(r.Private, &s) // it was written by with
	}
	return s
}

func (s groupState) with(r inventory.Resource) inventory.Resource {
	r.Private, _ = json.Marshal(s) // a struct of a string
	return r
}

// groupBody is what clients send. Members that are nil were not sent.
type groupBody struct {
	Location  *string            `json:"location"`
	Tags      *map[string]string `json:"tags"`
	ManagedBy *string            `json:"managedBy"`
}

var groupName = regexp.MustCompile(`^[-\p{L}\p{Nd}_.()]+$`)

// maxGroupName is in characters. It is not in the expression: one that counts
// letters of all scripts takes megabytes.
const maxGroupName = 90

func checkGroupName(name string) error {
	if !groupName.MatchString(name) || utf8.RuneCountInString(name) > maxGroupName || strings.HasSuffix(name, ".") {
		return arm.Faultf(http.StatusBadRequest, "InvalidResourceGroupName",
			"A resource group's name has 1 to 90 letters, digits and -_.() and does not end in a full stop.")
	}
	return nil
}

func describeGroup(r inventory.Resource) map[string]any {
	kept, provisioning := stateOf(r), "Succeeded"
	if r.Deleting {
		provisioning = "Deleting"
	}
	tags := r.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	group := map[string]any{
		"id": r.ID, "name": r.ResourceID().Name(), "type": groupType, "location": r.Location, "tags": tags,
		"properties": map[string]any{"provisioningState": provisioning},
	}
	if kept.ManagedBy != "" {
		group["managedBy"] = kept.ManagedBy
	}
	return group
}

func readGroup(ctx context.Context, inv *inventory.Inventory, id resource.ID) (inventory.Resource, error) {
	group, err := inv.Get(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return group, arm.GroupNotFound(id.Name())
	}
	return group, err
}

// Admit is for [arm.Config]: calls about what lies in a resource group need the
// group, and change nothing in one that is being deleted.
func (s *Service) Admit(c *arm.Call) error {
	if c.Scope.Group() == "" || c.Pattern == groupPattern {
		return nil
	}
	id := resource.Group(c.Scope.Subscription(), c.Scope.Group())
	if c.Pattern == groupResources { // a token is enough to ask, but not to find out which groups there are
		if sees, err := s.sight(c)(id, readGroups); err != nil || !sees {
			return err
		}
	}
	group, err := readGroup(c.Context(), s.cfg.Inventory, id)
	if err != nil {
		return err
	}
	if c.HTTP.Method == http.MethodPut || c.HTTP.Method == http.MethodPatch {
		return refuseDeleting(group)
	}
	return nil
}

func refuseDeleting(group inventory.Resource) error {
	if !group.Deleting {
		return nil
	}
	return arm.Faultf(http.StatusConflict, "ResourceGroupBeingDeleted",
		"The resource group '%s' is being deleted. If that was interrupted, delete it again.", group.ResourceID().Name())
}

func (s *Service) getGroup(c *arm.Call) (arm.Reply, error) {
	group, err := readGroup(c.Context(), s.cfg.Inventory, c.Scope)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(describeGroup(group)).WithETag(group.ETag()), nil
}

func (s *Service) putGroup(c *arm.Call) (arm.Reply, error) {
	var body groupBody
	if err := errors.Join(checkGroupName(c.Scope.Name()), c.JSON(&body)); err != nil {
		return arm.Reply{}, err
	}
	location, err := location(body.Location)
	if err != nil {
		return arm.Reply{}, err
	}
	group, created, err := s.writeGroup(c, body, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if exists && old.Location != location {
			return old, arm.Faultf(http.StatusConflict, "InvalidResourceGroupLocation",
				"The resource group '%s' is in location '%s' and cannot be moved to '%s'.", c.Scope.Name(), old.Location, location)
		}
		old.Location, old.Tags = location, nil
		return old, nil
	})
	if err != nil {
		return arm.Reply{}, err
	}
	reply := arm.OK(describeGroup(group)).WithETag(group.ETag())
	if created {
		reply.Status = http.StatusCreated
	}
	return reply, nil
}

func (s *Service) patchGroup(c *arm.Call) (arm.Reply, error) {
	var body groupBody
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	group, _, err := s.writeGroup(c, body, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists {
			return old, arm.GroupNotFound(c.Scope.Name())
		}
		return old, nil
	})
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(describeGroup(group)).WithETag(group.ETag()), nil
}

// writeGroup changes a group by what the operation does and what was sent.
func (s *Service) writeGroup(c *arm.Call, body groupBody, change inventory.Change) (inventory.Resource, bool, error) {
	if body.Tags != nil {
		if err := CheckTags(*body.Tags); err != nil {
			return inventory.Resource{}, false, err
		}
	}
	return s.change(c.Context(), c, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		next, err := change(old, exists)
		if err == nil {
			err = refuseDeleting(next)
		}
		if err != nil {
			return old, err
		}
		if body.Tags != nil {
			next.Tags = *body.Tags
		}
		kept := stateOf(next)
		if body.ManagedBy != nil {
			kept.ManagedBy = *body.ManagedBy
		}
		return kept.with(next), nil
	})
}

// change writes a group under the conditions that the client set.
func (s *Service) change(ctx context.Context, c *arm.Call, change inventory.Change) (inventory.Resource, bool, error) {
	return s.cfg.Inventory.Write(ctx, c.Scope, c.Caller.ObjectID, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if err := c.Precondition(old.ETag(), exists); err != nil {
			return old, err
		}
		return change(old, exists)
	})
}

// deleteTime bounds how long the deletion of a group goes on by itself. It does
// not end with the client's patience: a group half deleted helps nobody.
const deleteTime = 10 * time.Minute

func (s *Service) deleteGroup(c *arm.Call) (arm.Reply, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), deleteTime)
	defer cancel()
	if err := s.markDeleting(ctx, c); err != nil {
		return arm.Reply{}, err
	}
	err := s.cfg.DeleteTree(ctx, c.Scope)
	if err == nil {
		err = s.cfg.Inventory.Delete(ctx, c.Scope)
	}
	if err != nil && !errors.Is(err, problem.NotFound) {
		return arm.Reply{}, errors.Join(err, s.unmark(ctx, c))
	}
	return arm.Status(http.StatusOK), nil // 204 is an error to Terraform
}

// markDeleting keeps others from creating what the deletion has passed already.
func (s *Service) markDeleting(ctx context.Context, c *arm.Call) error {
	_, _, err := s.change(ctx, c, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists {
			return old, arm.GroupNotFound(c.Scope.Name())
		}
		old.Deleting = true
		return old, nil
	})
	return err
}

// unmark lets a group that could not be deleted be used again.
func (s *Service) unmark(ctx context.Context, c *arm.Call) error {
	_, _, err := s.cfg.Inventory.Write(ctx, c.Scope, c.Caller.ObjectID, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists {
			return old, state.ErrUnchanged
		}
		old.Deleting = false
		return old, nil
	})
	return err
}

// location gives a location in its short form: "West Europe" is "westeurope". Any
// name will do, so that what is written for Azure's regions works here.
func location(sent *string) (string, error) {
	if sent == nil || strings.TrimSpace(*sent) == "" {
		return "", arm.Fault{Status: http.StatusBadRequest, Code: "LocationRequired", Target: "location",
			Message: "The location property is required for this definition."}
	}
	short := strings.ToLower(strings.ReplaceAll(*sent, " ", ""))
	if !locationName.MatchString(short) {
		return "", arm.Fault{Status: http.StatusBadRequest, Code: "LocationNotAvailableForResourceGroup", Target: "location",
			Message: "A location's name has at most 60 letters, digits and hyphens."}
	}
	return short, nil
}

var locationName = regexp.MustCompile(`^[a-z0-9-]{1,60}$`)
